"""What there is to choose from, as its own docstrings and constructors say.

A class is described by its docstring: a first line, a ``Formula:`` section, free paragraphs of
which one begins "Use it", an ``Args:`` section with one entry a setting, and a ``Source:``.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from dataclasses import dataclass
from typing import Any

from sekd_plugin.base_criterion import criteria
from sekd_plugin.construction import describe, settings_of
from sekd_plugin.divergences import divergences
from sekd_plugin.errors import ConfigError
from sekd_plugin.proxies import proxies
from sekd_plugin.registry import Registry
from sekd_plugin.thresholds import thresholds

REGISTRIES: tuple[Registry[Any], ...] = (criteria, divergences, thresholds, proxies)
_SECTION = re.compile(r"^(Formula|Args|Source|Raises):[ ]?(.*)$")


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One setting of a component."""

    name: str
    """Its key."""

    type: str
    """What it takes, in words."""

    default: str | None
    """Its default as YAML would write it; None where it must be given."""

    meaning: str
    """What it does."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One component."""

    kind: str
    """``criterion``, ``divergence``, ``threshold`` or ``proxy``."""

    name: str
    """The name it is chosen by."""

    summary: str
    """One line."""

    formula: str
    """What it computes."""

    notes: str
    """When to use it."""

    settings: tuple[Setting, ...]
    """What can be set."""

    source: str
    """Where it comes from."""

    defined_in: str
    """``module:Class``."""

    problem: str = ""
    """Why it cannot be used; then there is nothing else to say of it."""


def catalogue() -> list[Entry]:
    """Every known component, those of installed plug-ins included, broken ones too."""
    return [entry_of(registry, name) for registry in REGISTRIES for name in registry.names()]


def entry_of(registry: Registry[Any], name: str) -> Entry:
    """The entry of one component, read from its class."""
    try:
        kind = registry.get(name)
    except ConfigError as error:
        return Entry(
            kind=registry.kind,
            name=name,
            summary="",
            formula="",
            notes="",
            settings=(),
            source="",
            defined_in="",
            problem=error.problem,
        )
    # Not inspect.getdoc: a class without a docstring would be given its base class's.
    summary, notes, sections = _read(inspect.cleandoc(kind.__doc__ or ""))
    meanings = _settings_text(sections.get("Args", ""))
    settings = tuple(
        Setting(
            name=key,
            type=describe(parameter.annotation),
            default=_yaml(parameter.default),
            meaning=meanings.get(key, ""),
        )
        for key, parameter in settings_of(kind).items()
    )
    return Entry(
        kind=registry.kind,
        name=name,
        summary=summary,
        formula=sections.get("Formula", ""),
        notes=notes,
        settings=settings,
        source=" ".join(sections.get("Source", "").split()),
        defined_in=f"{kind.__module__}:{kind.__qualname__}",
    )


def _read(text: str) -> tuple[str, str, dict[str, str]]:
    head, _, body = text.partition("\n\n")
    notes: list[str] = []
    sections: dict[str, str] = {}
    for block in re.split(r"\n\n(?=\S)", body.strip()):
        first, _, rest = block.partition("\n")
        match = _SECTION.match(first)
        if match:
            inline = match[2] + "\n" if match[2] else ""
            sections[match[1]] = (inline + textwrap.dedent(rest)).strip()
        elif block:
            notes.append(" ".join(block.split()))
    return " ".join(head.split()), "\n\n".join(notes), sections


def _settings_text(text: str) -> dict[str, str]:
    found = re.findall(r"^(\w+): ((?:.*)(?:\n[ ]+.*)*)", text, flags=re.MULTILINE)
    return {name: " ".join(meaning.split()) for name, meaning in found}


def _yaml(default: object) -> str | None:
    if default is inspect.Parameter.empty:
        return None
    words = {None: "null", True: "true", False: "false"}
    if default is None or isinstance(default, bool):
        return words[default]
    return str(default)
