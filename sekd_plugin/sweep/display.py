"""What a sweep shows while it works: a live table on a terminal, plain lines in a log."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TextIO

from sekd_plugin.progress import clock

_TERMINAL_PAUSE = 0.5
_LOG_PAUSE = 60.0


@dataclass(frozen=True, kw_only=True)
class RunView:
    """A run at work, as it is shown."""

    trial: str
    """Its trial."""

    seed: int
    """Its seed."""

    state: str
    """How it stands."""

    step: int | None = None
    """The last step that it has reported."""

    num_steps: int | None = None
    """How many it will do."""

    loss: float | None = None
    """The last loss, in nats a target token."""

    bleu: float | None = None
    """The last BLEU on the validation set."""

    seconds_left: float | None = None
    """Until it is trained."""


@dataclass(frozen=True, kw_only=True)
class Totals:
    """The whole sweep in numbers."""

    finished: int
    """Runs that have all that they need."""

    total: int
    """Runs that there are, without those that were given up."""

    failed: int
    """Runs that have failed."""

    seconds_left: float | None
    """Until all are trained."""


class SweepDisplay:
    """Draws over itself on a terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._terminal = stream.isatty()
        self._last = time.monotonic()
        self._drawn = 0

    def say(self, text: str) -> None:
        """Tell one line that stays."""
        self._erase()
        self._stream.write(f"{text}\n")
        self._stream.flush()

    @property
    def is_due(self) -> bool:
        """Whether it is time to show something again."""
        pause = _TERMINAL_PAUSE if self._terminal else _LOG_PAUSE
        return time.monotonic() - self._last >= pause

    def show(self, runs: Sequence[RunView], totals: Totals) -> None:
        """Show how things stand."""
        self._last = time.monotonic()
        if not self._terminal:
            self.say(totals_line(runs, totals))
            return
        size = shutil.get_terminal_size()
        lines = [*live_table(runs), totals_line(runs, totals)]
        lines = [line[: size.columns - 1] for line in lines[-(size.lines - 1) :]]
        self._erase()
        self._stream.write("".join(f"{line}\n" for line in lines))
        self._stream.flush()
        self._drawn = len(lines)

    def close(self) -> None:
        """Take the table away; what was told stays."""
        self._erase()
        self._stream.flush()

    def _erase(self) -> None:
        if self._drawn:
            # Up to the first line that was drawn, and clear from there to the end.
            self._stream.write(f"\x1b[{self._drawn}F\x1b[J")
        self._drawn = 0


def live_table(runs: Sequence[RunView]) -> list[str]:
    """Its head, and a line for each run."""
    cells = [["row", "seed", "step", "loss", "BLEU", "state", "left"]]
    for run in runs:
        step = "" if run.step is None else f"{run.step:,}"
        if step and run.num_steps is not None:
            step += f"/{run.num_steps:,}"
        cells.append(
            [
                run.trial,
                str(run.seed),
                step,
                "" if run.loss is None else f"{run.loss:.3f}",
                "" if run.bleu is None else f"{run.bleu:.2f}",
                run.state,
                "" if run.seconds_left is None else clock(run.seconds_left),
            ]
        )
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]


def totals_line(runs: Sequence[RunView], totals: Totals) -> str:
    """The whole sweep in one line."""
    parts = [f"{totals.finished} of {totals.total} runs done", f"{len(runs)} at work"]
    if totals.failed:
        parts.append(f"{totals.failed} failed")
    if totals.seconds_left is not None:
        parts.append(f"at most {clock(totals.seconds_left)} of training left")
    return ", ".join(parts)
