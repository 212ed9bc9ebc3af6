"""How far long work has come: a bar with the time left on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import Protocol, TextIO, TypeVar

T = TypeVar("T")


class Progress(Protocol):
    """Where long work tells how far it is."""

    def track(self, items: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
        """Hand on ``items``, telling how many of ``total`` have passed."""
        ...

    def say(self, text: str) -> None:
        """Tell one line."""
        ...


class SilentProgress:
    """Tells nothing; what a library call uses."""

    def track(self, items: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
        """Hand on ``items``."""
        yield from items

    def say(self, text: str) -> None:
        """Tell nothing."""


class StreamProgress:
    """A bar that is drawn over itself on a terminal, a line now and then anywhere else."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._terminal = self._stream.isatty()
        self._pause = 0.2 if self._terminal else 10.0

    def track(self, items: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
        """Hand on ``items``, drawing at most five times a second, or a line every 10 s."""
        start = last = time.monotonic()
        done = 0
        drawn = False
        try:
            for item in items:
                yield item
                done += 1
                now = time.monotonic()
                if now - last >= self._pause:
                    last, drawn = now, True
                    self._draw(progress_line(label, done, total, now - start), final=False)
        except BaseException:
            # The error's own line must not start in the middle of the bar's.
            if drawn and self._terminal:
                self._stream.write("\n")
            raise
        self._draw(progress_line(label, done, done, time.monotonic() - start), final=True)

    def say(self, text: str) -> None:
        """Tell one line."""
        print(text, file=self._stream, flush=True)

    def _draw(self, text: str, *, final: bool) -> None:
        if self._terminal:
            # Carriage return and erase-line, so that a shorter text leaves nothing behind.
            self._stream.write(f"\r\x1b[K{text}" + "\n" * final)
        else:
            self._stream.write(f"{text}\n")
        self._stream.flush()


def progress_line(label: str, done: int, total: int | None, seconds: float) -> str:
    """One state of the work: bar, share and time left where ``total`` is known and not reached."""
    if total is None:
        return f"{label}  {done:,}  {clock(seconds)} so far"
    if done >= total:
        return f"{label}  {done:,}  done in {clock(seconds)}"
    filled = 20 * done // total
    left = clock(seconds * (total - done) / done) if done else "?"
    bar = "#" * filled + "." * (20 - filled)
    return f"{label}  [{bar}] {100 * done // total:3d}%  {done:,}/{total:,}  {left} left"


def clock(seconds: float) -> str:
    """``0:07``, ``12:30`` or ``1:02:03``."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"
