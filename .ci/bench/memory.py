"""Peak extra memory of one run on a CPU: what is resident at its worst, less what was before.

The kernel itself keeps the high-water mark (``VmHWM``) and sets it back to what is resident now
when asked to (5 written to ``clear_refs``), so nothing is sampled and no peak is missed. Where
that can't be done a thread looks every half millisecond. glibc is told, by the environment of
the process (:data:`ENVIRONMENT`), to hand every block of 64 KiB and more straight back to the
system when it is freed: what is resident is then what is in use, not what was at some time. Huge
pages are off, or the last page of a buffer would count for 2 MiB.
"""

from __future__ import annotations

import ctypes
import gc
import re
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

ENVIRONMENT = {
    "MALLOC_MMAP_THRESHOLD_": "65536",
    "MALLOC_TRIM_THRESHOLD_": "65536",
    "MALLOC_MMAP_MAX_": "1000000",
}
"""What a process must be started with for its figures to be right."""

_PR_SET_THP_DISABLE = 41
_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
_POLL_S = 0.0005


def can_measure() -> bool:
    """Whether this system tells."""
    return sys.platform.startswith("linux") and _STATUS.is_file()


def without_huge_pages() -> None:
    """Have memory counted in pages of 4 KiB from now on."""
    ctypes.CDLL(None).prctl(_PR_SET_THP_DISABLE, 1, 0, 0, 0)


def peak_extra_bytes(work: Callable[[], None], spoils: list[BaseException]) -> int:
    """Bytes that were resident at the worst moment of ``work``, beyond those before it.

    An exception ends up in ``spoils``: what was reached until then is a lower bound.
    """
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    if not _set_back():
        return _peak_by_looking(work, spoils)
    before = _bytes("VmRSS")
    _run(work, spoils)
    return max(_bytes("VmHWM") - before, 0)


def _run(work: Callable[[], None], spoils: list[BaseException]) -> None:
    try:
        work()
    except Exception as error:
        spoils.append(error)


def _set_back() -> bool:
    try:
        _CLEAR.write_text("5")
    except OSError:
        return False
    return True


def _bytes(key: str) -> int:
    found = re.search(rf"{key}:\s+(\d+) kB", _STATUS.read_text())
    assert found is not None
    return int(found[1]) * 1024


def _peak_by_looking(work: Callable[[], None], spoils: list[BaseException]) -> int:
    ended = threading.Event()
    before = _bytes("VmRSS")
    most = [before]

    def look() -> None:
        while not ended.is_set():
            most[0] = max(most[0], _bytes("VmRSS"))
            time.sleep(_POLL_S)

    watcher = threading.Thread(target=look)
    watcher.start()
    _run(work, spoils)
    most[0] = max(most[0], _bytes("VmRSS"))
    ended.set()
    watcher.join()
    return most[0] - before
