"""The reference of a sweep file: every key, from the dataclasses that define it."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from configuration_page import Section, section_markdown, sections_of

from sekd_plugin.sweep.settings import (
    EvaluationSection,
    HalvingSection,
    RowSection,
    SweepSettings,
    TableSection,
)


@cache
def sweep_sections() -> tuple[Section, ...]:
    """The sections of a sweep file."""
    needed = SweepSettings(
        recipe=Path(),
        seeds=[],
        rows={},
        test=EvaluationSection(path=Path()),
        halving=HalvingSection(steps=[]),
    )
    return (
        *sections_of(needed, ""),
        *sections_of(RowSection(), "rows.NAME"),
        *sections_of(TableSection(rows=[]), "tables.NAME"),
    )


def sweep_markdown() -> str:
    """All of them as Markdown tables."""
    return "\n\n".join(section_markdown(each, "The sweep file") for each in sweep_sections())
