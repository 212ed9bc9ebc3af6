"""Running ``sekd`` commands to a log so that they never outlive who started them."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

Command = tuple[str, ...]
"""What follows ``sekd`` on the command line."""

_PR_SET_PDEATHSIG = 1
_POLL = 0.1
_GRACE = 20.0


class Program(Protocol):
    """A command that runs, as :class:`subprocess.Popen` has it."""

    def poll(self) -> int | None:
        """Its exit code, or None while it runs."""
        ...

    def terminate(self) -> None:
        """Ask it to end."""
        ...

    def kill(self) -> None:
        """End it."""
        ...


def start_command(
    command: Command, log: Path, *, lock: int, environment: Mapping[str, str] | None = None
) -> Program:
    """Start ``sekd COMMAND`` with its output added to ``log``.

    Args:
        command: what follows ``sekd``.
        log: the file.
        lock: a locked file descriptor that the program inherits: the lock is free only when
            nobody is at work any more.
        environment: variables that it gets beside those of this process.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "sekd_plugin", *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # A group of its own: Ctrl-C reaches its parent alone, which then stops the program.
            start_new_session=True,
            pass_fds=[lock],
            preexec_fn=end_with_parent(),
            env={**os.environ, **(environment or {})},
        )


def run_command(command: Command, log: Path, *, lock: int, watch: Callable[[], None]) -> int:
    """Run ``sekd COMMAND`` to its end; return its exit code.

    Args:
        command: what follows ``sekd``.
        log: the file that its output is added to.
        lock: as for :func:`start_command`.
        watch: called about ten times a second.
    """
    program = start_command(command, log, lock=lock)
    try:
        while (code := program.poll()) is None:
            time.sleep(_POLL)
            watch()
        return code
    except BaseException:
        stop_programs([program])
        raise


def stop_programs(programs: Sequence[Program], grace: float = _GRACE) -> None:
    """Ask programs to end, and end those that have not after ``grace`` seconds."""
    for program in programs:
        program.terminate()
    end = time.monotonic() + grace
    while any(program.poll() is None for program in programs) and time.monotonic() < end:
        time.sleep(_POLL)
    for program in programs:
        if program.poll() is None:
            program.kill()
            while program.poll() is None:
                time.sleep(_POLL)


def last_line(log: Path) -> str:
    """The last line of a log that says anything."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return "(nothing)"
    return next((line.strip() for line in reversed(lines) if line.strip()), "(nothing)")


def end_with_parent() -> Callable[[], None] | None:
    """What makes Linux kill a program when its parent dies without a chance to do it itself."""
    if not sys.platform.startswith("linux"):
        return None
    # Looked up before the fork; after it, only the call itself is safe.
    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) and None
