"""Whether a run's folder takes what is written into it, found out before long work."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from sekd_plugin.errors import SekdError

_ROOM = 1 << 20
"""Bytes that a run needs at start for its configuration and logs."""


def check_room(folder: Path) -> None:
    """Check that a run can start to write in ``folder``; nothing is left behind.

    Raises:
        SekdError: it cannot be made or written in, or the disk is full.
    """
    place = folder
    while not place.is_dir() and place != place.parent:
        place = place.parent
    try:
        with tempfile.TemporaryFile(dir=place) as probe:
            probe.write(bytes(_ROOM))
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:
        raise SekdError(
            f"{folder} cannot be written: {error.strerror or error}; nothing in it was changed"
        ) from None
