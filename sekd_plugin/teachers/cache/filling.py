"""Filling a cache: any number of processes, each file made whole by one of them.

A process takes a file that is not there yet by locking it. The system releases the lock when the
process ends, however it ends; a file that was being made is then simply made again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
from collections.abc import Iterator
from pathlib import Path

from sekd_plugin.errors import SekdError
from sekd_plugin.new_file import write_once
from sekd_plugin.teachers.cache.plan import CachePlan, shard_file, with_checksum
from sekd_plugin.teachers.cache.shards import Shard, ShardSummary

INDEX_FILE = "index.json"
LOCKS = "locks"


def is_finished(folder: Path) -> bool:
    """Whether a cache has its index, which is written last."""
    return (folder / INDEX_FILE).is_file()


def missing_shards(folder: Path, plan: CachePlan) -> list[int]:
    """The files that are still to be made."""
    return [shard for shard in range(plan.num_shards) if not shard_file(folder, shard).exists()]


def take_shards(folder: Path, plan: CachePlan) -> Iterator[int]:
    """The numbers of files for this process to make, each locked until the next is asked for.

    It ends when every file is there, or being made by another process.

    Raises:
        SekdError: the folder cannot be written.
    """
    took_one = True
    while took_one:  # again, for another process may have been killed meanwhile
        took_one = False
        for shard in missing_shards(folder, plan):
            with _locked(folder, shard) as is_mine:
                if is_mine and not shard_file(folder, shard).exists():
                    _remove_partial(shard_file(folder, shard))
                    took_one = True
                    yield shard


def finish(folder: Path, plan: CachePlan) -> bool:
    """Write the index if every file is there; whether it is.

    Raises:
        DataError: a file is damaged, or of another plan.
        SekdError: the index cannot be written.
    """
    if missing_shards(folder, plan):
        return False
    if not is_finished(folder):
        files = [shard_file(folder, number) for number in range(plan.num_shards)]
        summaries = [Shard(file).summary() for file in files]
        write_once(folder / INDEX_FILE, index_text(plan, summaries))
        with contextlib.suppress(OSError):
            for lock in (folder / LOCKS).iterdir():
                lock.unlink()
            (folder / LOCKS).rmdir()
    return True


def index_text(plan: CachePlan, summaries: list[ShardSummary]) -> str:
    """The index: the plan's digest, and a summary of each file."""
    return with_checksum(
        {
            "plan": plan.digest(),
            "shards": [dataclasses.asdict(summary) for summary in summaries],
        }
    )


@contextlib.contextmanager
def _locked(folder: Path, shard: int) -> Iterator[bool]:
    """Try to lock a file's making; whether it is ours."""
    try:
        (folder / LOCKS).mkdir(exist_ok=True)
        lock = (folder / LOCKS / shard_file(folder, shard).name).open("w")
    except OSError as error:
        raise SekdError(f"{folder} cannot be written: {error.strerror}") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _remove_partial(file: Path) -> None:
    """What a process that was killed has left of the file."""
    for partial in file.parent.glob(f".{file.name}.*"):
        partial.unlink(missing_ok=True)
