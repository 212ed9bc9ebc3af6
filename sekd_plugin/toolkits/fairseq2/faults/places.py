"""Where sentences stand, in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import cast

from sekd_plugin.toolkits.fairseq2.batch_form import Batch

Place = tuple[Path, int]
"""File and line of a sentence."""


def places_of(batch: Batch) -> Sequence[Place]:
    """File and line of each sentence of a batch, as it was collated."""
    return cast("Sequence[Place]", batch.example)


def in_words(places: Iterable[Place]) -> str:
    """Files and their lines, as ``a.jsonl, line 3, 7; b.jsonl, line 1``."""
    lines: dict[Path, list[str]] = {}
    for file, line in places:
        lines.setdefault(file, []).append(str(line))
    return "; ".join(f"{file}, line {', '.join(found)}" for file, found in lines.items())
