"""A disk without room."""

import shutil

FULL = "No space left on device"


def fill(file, leave=0):
    """Write until the disk is full, then give back ``leave`` bytes."""
    with file.open("wb", buffering=0) as out:
        try:
            while True:
                out.write(bytes(4096))
        except OSError:
            pass
        size = file.stat().st_size
        out.truncate(max(0, size - leave))
    assert shutil.disk_usage(file.parent).free <= leave + 4096
