"""A bound on this process's memory, so that a contender that needs too much fails alone."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from pathlib import Path

_SPARE_BYTES = 2**30


def bound_memory() -> int | None:
    """Keep allocations below what is free now, less a reserve; the bound, where one can be set."""
    if not sys.platform.startswith("linux"):
        return None
    import resource

    available = _available()
    if available is None:
        return None
    bound = max(available - _SPARE_BYTES, 2**28)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_DATA, (bound, bound))
        return bound
    return None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether it says that memory ran out."""
    text = f"{type(error).__name__} {error}".lower()
    return isinstance(error, MemoryError) or "allocate memory" in text or "outofmemory" in text


def _available() -> int | None:
    try:
        text = Path("/proc/meminfo").read_text()
    except OSError:
        return None
    found = re.search(r"MemAvailable:\s+(\d+)", text)
    free = [] if found is None else [int(found[1]) * 1024]
    with contextlib.suppress(OSError, ValueError):
        group = Path("/sys/fs/cgroup")
        most = int((group / "memory.max").read_text())
        free.append(most - int((group / "memory.current").read_text()))
    free.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return min(free)
