"""Running a program to a log so that it never outlives the demo."""

from __future__ import annotations

import ctypes
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from sekd_plugin.demo.errors import Interrupted
from sekd_plugin.demo.stage import Command

_PR_SET_PDEATHSIG = 1
_POLL = 0.1
_GRACE = 20.0


def run_command(command: Command, log: Path, *, lock: int, watch: Callable[[], None]) -> int:
    """Run ``sekd COMMAND`` with its output added to ``log``; return its exit code.

    Args:
        command: what follows ``sekd``.
        log: the file.
        lock: a locked file descriptor that the program inherits: the lock is free only when
            nobody is at work any more.
        watch: called about ten times a second.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "sekd_plugin", *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # A group of its own: Ctrl-C reaches the demo alone, which then stops the program.
            start_new_session=True,
            pass_fds=[lock],
            preexec_fn=_end_with_parent(),
        )
    try:
        while True:
            try:
                return process.wait(_POLL)
            except subprocess.TimeoutExpired:
                watch()
    except BaseException:
        _stop(process)
        raise


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


def last_line(log: Path) -> str:
    """The last line of a log that says anything."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return "(nothing)"
    return next((line.strip() for line in reversed(lines) if line.strip()), "(nothing)")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _end_with_parent() -> Callable[[], None] | None:
    """What makes Linux kill a program when the demo dies without a chance to do it itself."""
    if not sys.platform.startswith("linux"):
        return None
    # Looked up before the fork; after it, only the call itself is safe.
    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) and None
