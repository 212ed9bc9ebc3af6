"""What MkDocs runs while it builds the site: pictures and reference pages made from the code.

A page holds ``<!-- generated: NAME -->`` where generated Markdown goes. Pictures are files of the
site that lie in no folder; they are drawn once a process.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

from component_sections import (
    built_in,
    chosen_markdown,
    classes_markdown,
    reference_markdown,
)
from configuration_page import configuration_markdown
from divergence_pictures import divergence_picture, measured_table
from markdown.extensions.toc import slugify_unicode
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from offline import fetched_from_elsewhere
from proxy_pictures import proxy_picture
from sweep_page import sweep_markdown
from threshold_pictures import EXAMPLES, threshold_picture

TEXTS: Mapping[str, Callable[[], str]] = {
    "configuration": configuration_markdown,
    "components": reference_markdown,
    "sweep": sweep_markdown,
    "measured divergences": measured_table,
    "divergences": lambda: chosen_markdown("divergence", pictures=True),
    "thresholds": lambda: chosen_markdown("threshold", pictures=True),
    "proxies": lambda: chosen_markdown("proxy", pictures=False),
    "divergence classes": lambda: classes_markdown("divergence"),
    "threshold classes": lambda: classes_markdown("threshold"),
    "proxy classes": lambda: classes_markdown("proxy"),
}
"""What can stand in a page: name → what makes it."""

_PLACE = re.compile(r"^<!-- generated: (.+) -->$", re.MULTILINE)


def drawings() -> Mapping[str, Callable[[], str]]:
    """Every picture: its place in the site → what draws its SVG."""
    found: dict[str, Callable[[], str]] = {"proxies": proxy_picture}
    for entry in built_in("divergence"):
        found[f"divergence-{entry.name}"] = partial(divergence_picture, entry.name)
    for name in EXAMPLES:
        found[f"threshold-{name}"] = partial(threshold_picture, name)
    return {f"pictures/{name}.svg": draw for name, draw in found.items()}


@cache
def pictures() -> Mapping[str, str]:
    """Every picture, drawn."""
    return {place: draw() for place, draw in drawings().items()}


def on_startup(**_: Any) -> None:
    """Keep matplotlib's search for fonts out of a strict build's warnings."""
    logging.getLogger("matplotlib").setLevel(logging.ERROR)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Keep Greek letters in the anchors of headings, as repositories do: a link works in both."""
    config.mdx_configs["toc"]["slugify"] = slugify_unicode
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pictures to the site."""
    for place, picture in pictures().items():
        files.append(File.generated(config, place, content=picture))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put generated text where a page asks for it."""

    def text(place: re.Match[str]) -> str:
        if place[1] not in TEXTS:
            raise PluginError(f"nothing generates '{place[1]}'")
        return TEXTS[place[1]]()

    return _PLACE.sub(text, markdown)


def on_post_build(config: MkDocsConfig) -> None:
    """Refuse a site that would fetch anything from another host."""
    found = fetched_from_elsewhere(Path(config.site_dir))
    if found:
        raise PluginError("the site fetches from another host: " + "; ".join(found))
