"""Lines that hold no pair: refused at the first one, or passed over, written down and counted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO, TypeAlias

from sekd_plugin.errors import DataError, SekdError

OnBroken: TypeAlias = Callable[[DataError], None]
"""What is done about a line that cannot be used: it returns to pass the line over, or raises."""

RECORD = "broken_lines.jsonl"

_PLACES_SHOWN = 3


def refuse(error: DataError) -> None:
    """Pass no line over."""
    raise error


class BrokenLines:
    """The broken lines of a preparation, of which each split may have a share.

    Every one of them is written to a file as it is met, and only counted in memory.
    """

    def __init__(self, record: Path, max_share: float) -> None:
        """Where they are written down, and how many there may be.

        Args:
            record: a JSON Lines file, made when the first one is met.
            max_share: the largest share of a split's lines.
        """
        self._path = record
        self._max_share = max_share
        self._stream: TextIO | None = None
        self.counts: dict[str, dict[str, dict[str, Any]]] = {}
        """Split → kind → ``lines``, how many, and ``first``, where the first ones are."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._stream is not None:
            self._stream.close()

    def reading(self, split: str, num_lines: int) -> OnBroken:
        """What to do about the broken lines of one reading of a split; the latest one counts.

        Args:
            split: which one is read, from its start.
            num_lines: how many lines it has.

        Raises:
            DataError: no line may be broken, and one is.
            SekdError: more lines are broken than may be.
        """
        allowed = int(self._max_share * num_lines)
        kinds: dict[str, dict[str, Any]] = {}
        self.counts[split] = kinds
        met = 0

        def pass_over(error: DataError) -> None:
            nonlocal met
            if self._max_share == 0.0:
                raise error
            met += 1
            entry = kinds.setdefault(_kind(error), {"lines": 0, "first": []})
            entry["lines"] += 1
            if len(entry["first"]) < _PLACES_SHOWN:
                entry["first"].append(f"{Path(error.file).name}, line {error.line}")
            if met > allowed:
                raise SekdError(_too_many(error, split, num_lines, allowed, kinds))

        return pass_over

    def write_down(self, split: str, pass_over: OnBroken) -> OnBroken:
        """The same as ``pass_over``, and the line is written down."""

        def write(error: DataError) -> None:
            pass_over(error)
            if self._stream is None:
                self._stream = self._path.open("w", encoding="utf-8", newline="\n")
            row = {
                "split": split,
                "file": Path(error.file).name,
                "line": error.line,
                "problem": error.problem,
            }
            self._stream.write(json.dumps(row, ensure_ascii=False) + "\n")

        return write


def _kind(error: DataError) -> str:
    """What is wrong, without what is peculiar to one line."""
    return error.problem.partition(":")[0].partition(";")[0]


def _too_many(
    error: DataError, split: str, num_lines: int, allowed: int, kinds: dict[str, dict[str, Any]]
) -> str:
    listed = "; ".join(
        f"{entry['lines']:,} {kind} (first: {entry['first'][0]})" for kind, entry in kinds.items()
    )
    return (
        f"{error.file}: more lines are broken than max_broken_share allows, which is {allowed:,} "
        f"of the {num_lines:,} of {split}; met by line {error.line}: {listed}"
    )
