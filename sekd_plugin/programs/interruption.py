"""SIGINT and SIGTERM as an exception, so that whoever runs programs can stop them first."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted(BaseException):  # like KeyboardInterrupt, not an error
    """Someone asked the command to stop."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number
        """The signal."""

    @property
    def exit_code(self) -> int:
        """What a shell expects of a program that a signal ended."""
        return 128 + self.number

    @property
    def signal_name(self) -> str:
        """``SIGINT`` or ``SIGTERM``."""
        return signal.Signals(self.number).name


@contextmanager
def signals_as_exceptions() -> Iterator[None]:
    """Have SIGINT and SIGTERM raise :class:`Interrupted` in here."""

    def interrupt(number: int, _: FrameType | None) -> None:
        # A second one must not tear apart the stopping that the first one began.
        for name in (signal.SIGINT, signal.SIGTERM):
            signal.signal(name, signal.SIG_IGN)
        raise Interrupted(number)

    before = {name: signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM)}
    try:
        for name in before:
            signal.signal(name, interrupt)
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


@contextmanager
def noted_signals() -> Iterator[Callable[[], None]]:
    """Only note SIGINT and SIGTERM in here, for a loop that asks between its turns.

    What it gives raises :class:`Interrupted` once one has come. Nothing is torn apart half-way, as
    a program that was started and not yet put down.
    """
    came: list[int] = []

    def check() -> None:
        if came:
            raise Interrupted(came[0])

    names = (signal.SIGINT, signal.SIGTERM)
    before = {name: signal.signal(name, lambda number, _: came.append(number)) for name in names}
    try:
        yield check
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
