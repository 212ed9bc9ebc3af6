"""The end of a metrics file that a training is writing."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

_TAIL = 8192
"""Bytes that hold the last complete record for certain."""


def last_record(file: Path, read: Callable[[dict[str, Any]], T]) -> T | None:
    """What ``read`` makes of the last whole record; None where there is none.

    Args:
        file: a JSON object a line.
        read: takes what is wanted from a record; what it raises of ``ValueError``, ``KeyError``
            and ``TypeError`` passes the record over.
    """
    try:
        with file.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - _TAIL))
            lines = stream.read().splitlines()
    except OSError:
        return None
    for line in reversed(lines):
        try:
            return read(json.loads(line))
        except (ValueError, KeyError, TypeError):
            continue  # half a line: it is being written, or the run was killed there
    return None
