"""One command at a time in a folder."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sekd_plugin.errors import SekdError


@contextmanager
def alone(lock: Path, place: Path, what: str) -> Iterator[int]:
    """Hold a folder for this command and the programs it starts.

    Args:
        lock: the file that is locked; programs that inherit its descriptor hold it too.
        place: the folder, for the message.
        what: the command, as ``demo``.

    Raises:
        SekdError: another one, or a program that one left behind, is at work there.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SekdError(
                f"{place}: another {what} is at work there; wait for it, or stop it"
            ) from None
        yield descriptor
    finally:
        os.close(descriptor)
