"""Where sentences stand, in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import cast

from sekd_plugin.toolkits.fairseq2.batch_form import Batch

Place = tuple[Path, int]
"""File and line of a sentence."""

MOST_LINES = 20
"""So many lines of a file are named: a batch of a model that has diverged would fill a page."""


def places_of(batch: Batch) -> Sequence[Place]:
    """File and line of each sentence of a batch, as it was collated."""
    return cast("Sequence[Place]", batch.example)


def in_words(places: Iterable[Place]) -> str:
    """Files and their lines, as ``a.jsonl, line 3, 7; b.jsonl, line 1``; the first of many."""
    lines: dict[Path, list[int]] = {}
    for file, line in places:
        lines.setdefault(file, []).append(line)
    return "; ".join(f"{file}, line {_first_of(found)}" for file, found in lines.items())


def _first_of(lines: Sequence[int]) -> str:
    shown = ", ".join(map(str, lines[:MOST_LINES]))
    return shown if len(lines) <= MOST_LINES else f"{shown} and {len(lines) - MOST_LINES} more"
