"""What a preparation read, kept and dropped."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

SPLITS = ("train", "valid", "test")
SIDES = ("source", "target")


@dataclass(frozen=True, kw_only=True)
class PreparationReport:
    """The content of ``report.json``; the same inputs and settings give the same bytes."""

    made_from: dict[str, Any]
    """Checksums of the inputs' lines, and the settings, by which a result is known again."""

    read: dict[str, int]
    """Pairs read from the files of each split."""

    kept: dict[str, int]
    """Pairs written to each split."""

    dropped: dict[str, dict[str, dict[str, Any]]]
    """Files of a split → reason → ``pairs``, how many, and ``first``, where the first ones are."""

    lengths: dict[str, dict[str, dict[str, dict[str, float]]]]
    """Split → side → ``words`` or ``pieces`` → mean, median, 95th percentile, maximum."""

    vocabulary: dict[str, Any]
    """How many pieces, their algorithm, the sentences trained on, and the special ids."""

    files: dict[str, dict[str, Any]]
    """Written file → ``bytes`` and ``sha256``."""

    broken: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    """Files of a split → what is wrong with a line → ``lines``, how many, and ``first``, where
    the first ones are; ``broken_lines.jsonl`` lists all."""

    def to_json(self) -> str:
        """The report as indented JSON text."""
        return json.dumps(asdict(self), ensure_ascii=False, indent=2) + "\n"

    def table(self) -> str:
        """The report as a small table for a terminal."""
        splits = [split for split in SPLITS if self.kept.get(split)]
        reasons = list(dict.fromkeys(reason for part in self.dropped.values() for reason in part))
        kinds = list(dict.fromkeys(kind for part in self.broken.values() for kind in part))
        width = max(map(len, ("train source pieces", *reasons, *kinds))) + 4
        lines = [_row("pairs", splits, width)]
        lines.append(_row("  read", [_count(self.read.get(split)) for split in splits], width))
        for reason in reasons:
            counts = [self.dropped.get(split, {}).get(reason) for split in splits]
            cells = [_count(entry["pairs"] if entry else None, "-") for entry in counts]
            lines.append(_row(f"  {reason}", cells, width))
        lines.append(_row("  kept", [_count(self.kept[split]) for split in splits], width))
        if kinds:
            lines += ["", _row("broken lines", splits, width)]
        for kind in kinds:
            met = [self.broken.get(split, {}).get(kind, {}).get("lines") for split in splits]
            lines.append(_row(f"  {kind}", [_count(number) for number in met], width))
        lines += ["", _row("lengths", ["mean", "median", "95 %", "max"], width)]
        for split in splits:
            for side in SIDES:
                for unit, numbers in self.lengths[split][side].items():
                    cells = [f"{number:,.1f}" for number in numbers.values()]
                    lines.append(_row(f"  {split} {side} {unit}", cells, width))
        words = self.vocabulary
        lines += ["", f"vocabulary: {words['pieces']:,} pieces, {words['model_type']}"]
        return "\n".join(lines)


def _row(label: str, cells: list[str], width: int) -> str:
    return f"{label:<{width}}" + "".join(f"{cell:>12}" for cell in cells)


def _count(number: int | None, sign: str = "") -> str:
    return "" if number is None else f"{sign if number else ''}{number:,}"
