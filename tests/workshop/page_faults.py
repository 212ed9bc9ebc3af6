"""A program of its own: how often the system fills a page for blocks that come and go.

page_faults.py keep|leave: whether freed memory is kept first. Prints whether it is, and the faults
of a round.
"""

import ctypes
import resource
import sys

from sekd_plugin.freed_memory import keep_freed_memory

ROUNDS, BLOCKS, BYTES = 5, 20, 12_000_000

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p


def round_of_blocks():
    """As a step does: take one block after the other, fill each, then give all back."""
    blocks = [ctypes.c_void_p(libc.malloc(BYTES)) for _ in range(BLOCKS)]
    for block in blocks:
        libc.memset(block, 1, BYTES)
    for block in reversed(blocks):
        libc.free(block)


def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


if __name__ == "__main__":
    is_kept = sys.argv[1] == "keep" and keep_freed_memory()
    round_of_blocks()
    before = faults()
    for _ in range(ROUNDS):
        round_of_blocks()
    print(is_kept, (faults() - before) // ROUNDS)
