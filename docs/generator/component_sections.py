"""Criteria, divergences, thresholds and proxies as Markdown, from the catalogue."""

from __future__ import annotations

import re
import textwrap

from field_docstrings import as_markdown

from sekd_plugin.base_criterion import criteria
from sekd_plugin.catalogue import Entry, Setting, catalogue
from sekd_plugin.divergences import divergences
from sekd_plugin.proxies import proxies
from sekd_plugin.thresholds import thresholds

_OWN = "sekd_plugin."


def built_in(kind: str) -> list[Entry]:
    """The entries of a kind that this package defines itself."""
    return [
        entry for entry in catalogue() if entry.kind == kind and entry.defined_in.startswith(_OWN)
    ]


def reference_markdown() -> str:
    """Everything that a recipe can name, in four sections."""
    parts: list[str] = []
    for registry, title in (
        (criteria, "Criteria"),
        (divergences, "Divergences"),
        (thresholds, "Thresholds"),
        (proxies, "Proxies"),
    ):
        parts.append(f"## {title}")
        parts += [entry_markdown(entry) for entry in built_in(registry.kind)]
    return "\n\n".join(parts)


def chosen_markdown(kind: str, pictures: bool) -> str:
    """The components of one kind for the page that helps to choose."""
    parts: list[str] = []
    for entry in built_in(kind):
        lines = [f"### `{entry.name}` {{ #{entry.name} }}", "", as_markdown(entry.summary), ""]
        if pictures:
            lines += [f"![{picture_text(entry)}](../pictures/{kind}-{entry.name}.svg)", ""]
        lines += [
            as_paragraphs(entry.notes),
            "",
            f"[Its settings](../reference/components.md#{entry.name}).",
        ]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def classes_markdown(kind: str) -> str:
    """Where mkdocstrings puts the class of each component of a kind."""
    return "\n\n".join(f"::: {entry.defined_in.replace(':', '.')}" for entry in built_in(kind))


def picture_text(entry: Entry) -> str:
    """What a picture of a component shows, for those who do not see it."""
    if entry.kind == "divergence":
        return f"The value and the gradient of {entry.name} over two words, by the student's q"
    return f"Γ and the share of hard tokens of {entry.name} over two recorded training runs"


def entry_markdown(entry: Entry) -> str:
    """One component: what it is, its formula, its settings, where it comes from."""
    lines = [f"### `{entry.name}` {{ #{entry.name} }}", "", as_markdown(entry.summary), ""]
    lines += [quoted(entry.formula), "", as_paragraphs(entry.notes), ""]
    if entry.settings:
        lines += ["| setting | takes | default | meaning |", "|---|---|---|---|"]
        lines += [_row(setting) for setting in entry.settings]
        lines.append("")
    lines.append(f"Source: {entry.source or 'this project'}  ")
    lines.append(f"Defined in `{entry.defined_in}`")
    return "\n".join(lines)


def as_paragraphs(notes: str) -> str:
    """Notes as Markdown, paragraph by paragraph."""
    return "\n\n".join(as_markdown(paragraph) for paragraph in notes.split("\n\n"))


def quoted(formula: str) -> str:
    """A formula as a Markdown quotation, its marks left alone."""
    parts = as_markdown(formula).split("`")
    # Every second part is code, in which nothing is a mark.
    parts[::2] = [re.sub(r"([\\*_])", r"\\\1", part) for part in parts[::2]]
    return textwrap.indent("`".join(parts), "> ", lambda line: True)


def _row(setting: Setting) -> str:
    default = "needed" if setting.default is None else f"`{setting.default}`"
    cells = (f"`{setting.name}`", setting.type, default, as_markdown(setting.meaning))
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
