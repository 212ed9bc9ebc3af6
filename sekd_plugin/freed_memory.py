"""Memory of tensors that are gone, kept for the next ones."""

from __future__ import annotations

import ctypes
import os
from typing import Final

_SETTINGS: Final = {
    "M_ARENA_MAX": (-8, 1),  # a thread's own arena maps and unmaps its parts
    "M_MMAP_THRESHOLD": (-3, 32 << 20),  # bytes; the most that glibc allows
    "M_TRIM_THRESHOLD": (-1, 2**31 - 1),
    "M_TOP_PAD": (-2, 64 << 20),  # bytes that the heap grows by, so that it grows seldom
}
"""What glibc is told: the setting, its number in ``malloc.h``, and the value.

Blocks of 32 MiB and more stay apart, and go back to the system: among those few, gaps that fit no
other would be as large. A chunk of logits is smaller.
"""


def keep_freed_memory() -> bool:
    """Have the C library keep what tensors on a CPU give back, for the next ones.

    PyTorch keeps no memory of a CPU's tensors. glibc returns large blocks at once, and the system
    fills each with zeros, page by page, when a step asks for the like again. Of blocks below 32 MiB
    a process keeps the most that it ever held then.

    Returns:
        whether it is kept: not where the C library is another than glibc, nor where the user has
        said how memory is allocated (``MALLOC_…``, ``GLIBC_TUNABLES``, ``LD_PRELOAD``).

    Source: mallopt(3).
    """
    if any(name.startswith(("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD")) for name in os.environ):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None or not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"):
        return False
    return all([mallopt(number, value) == 1 for number, value in _SETTINGS.values()])
