"""What the demo shows while it works: one line a stage on a terminal, now and then one in a log."""

from __future__ import annotations

import shutil
import time
from typing import TextIO

from sekd_plugin.demo.stage import State
from sekd_plugin.progress import clock

_BAR = 20
_LOG_PAUSE = 30.0
_TERMINAL_PAUSE = 0.3


class StageDisplay:
    """Shows one stage after the other on a stream."""

    def __init__(self, stream: TextIO, width: int) -> None:
        """Where to, and how wide the column of names is."""
        self._stream = stream
        self._width = width
        self._terminal = stream.isatty()
        self._last = 0.0

    def begin(self, stage: str, whole_left: float) -> None:
        """A stage begins."""
        self._last = time.monotonic()
        self._draw(f"{stage:<{self._width}}  started, whole about {clock(whole_left)} left")

    def show(self, stage: str, state: State | None, left: float, whole_left: float) -> None:
        """A stage is under way; most calls show nothing."""
        now = time.monotonic()
        if now - self._last < (_TERMINAL_PAUSE if self._terminal else _LOG_PAUSE):
            return
        self._last = now
        self._draw(progress_line(f"{stage:<{self._width}}", state, left, whole_left))

    def finish(self, stage: str, what: str) -> None:
        """A stage is behind."""
        self._draw(f"{stage:<{self._width}}  {what}", final=True)

    def leave(self) -> None:
        """What was drawn stays, and the next text starts on a line of its own."""
        if self._terminal:
            self._stream.write("\n")
            self._stream.flush()

    def _draw(self, text: str, *, final: bool = False) -> None:
        if self._terminal:
            columns = shutil.get_terminal_size().columns
            self._stream.write(f"\r\x1b[K{text[: columns - 1]}" + "\n" * final)
        else:
            self._stream.write(f"{text}\n")
        self._stream.flush()


def progress_line(label: str, state: State | None, left: float, whole_left: float) -> str:
    """Bar, count, loss and time left in one line."""
    tail = f"{clock(left)} left, whole {clock(whole_left)}"
    if state is None:
        return f"{label}  starting  {tail}"
    share = min(state.done / state.total, 1.0) if state.total else 0.0
    filled = int(_BAR * share)
    bar = "#" * filled + "." * (_BAR - filled)
    loss = "" if state.loss is None else f"  loss {state.loss:.2f}"
    count = f"{state.unit} {state.done:,}/{state.total:,}"
    return f"{label}  [{bar}] {int(100 * share):3d}%  {count}{loss}  {tail}"
