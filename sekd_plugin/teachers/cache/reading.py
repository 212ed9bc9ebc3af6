"""Reading a finished cache: sentences in any order, straight from the files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from sekd_plugin.errors import DataError, SekdError
from sekd_plugin.teachers.cache.filling import INDEX_FILE, is_finished, missing_shards
from sekd_plugin.teachers.cache.packing import PER_TOKEN, PER_WORD, unpack_rows
from sekd_plugin.teachers.cache.plan import CachePlan, read_checked, read_plan
from sekd_plugin.teachers.cache.shards import Shard, ShardSummary
from sekd_plugin.teachers.sparse import SparseTeacher


class TeacherCache:
    """A finished cache.

    In memory are 24 bytes a sentence, by which it is found. All else is read from the mapped files
    when it is asked for, and its checksum is compared each time.
    """

    def __init__(self, folder: Path) -> None:
        """Open it.

        Raises:
            SekdError, DataError: it is none, is not finished, or is damaged.
        """
        self.folder = folder
        self.plan: CachePlan = read_plan(folder)
        if not is_finished(folder):
            missing = len(missing_shards(folder, self.plan))
            raise SekdError(
                f"{folder} is not finished: {missing} of {self.plan.num_shards} files are missing; "
                "the command that began it goes on with it"
            )
        self.summaries = read_index(folder, self.plan)
        self._shards = [open_shard(folder, summary, self.plan) for summary in self.summaries]
        keys = torch.cat([shard.keys for shard in self._shards])
        first, self._second = _halves(keys)
        self._first, self._order = first.sort(stable=True)
        counts = [shard.keys.shape[0] for shard in self._shards]
        self._ends = torch.tensor(counts).cumsum(0)

    def __len__(self) -> int:
        return self.plan.num_sentences

    def missing(self, keys: Sequence[bytes]) -> list[int]:
        """Which of these sentences, by their place among them, are not in the cache."""
        return (self._places_of(keys) < 0).nonzero().flatten().tolist()

    def rows(self, keys: Sequence[bytes]) -> SparseTeacher:
        """The target tokens of some sentences, one sentence after the other: ``[n, k]``.

        Raises:
            KeyError: a sentence is not in the cache.
            DataError: its bytes have changed.
        """
        places = self._places_of(keys)
        found = []
        for key, place in zip(keys, places.tolist(), strict=True):
            if place < 0:
                raise KeyError(key)
            shard = int(torch.searchsorted(self._ends, place, right=True))
            start = int(self._ends[shard - 1]) if shard > 0 else 0
            found.append(self._shards[shard].sentence(place - start))
        packed = {name: torch.cat([each[name] for each in found]) for name in PER_TOKEN + PER_WORD}
        return unpack_rows(packed, self.plan.temperature)

    def _places_of(self, keys: Sequence[bytes]) -> Tensor:
        """``[m]`` the number of each sentence in the cache; -1 where it has none."""
        first, second = _halves(torch.frombuffer(bytearray(b"".join(keys)), dtype=torch.uint8))
        found = torch.full_like(first, -1)
        place = torch.searchsorted(self._first, first)
        while True:
            inside = place.clamp(max=self._first.numel() - 1)
            candidate = self._order[inside]
            alike = (place < self._first.numel()) & (self._first[inside] == first)
            equal = alike & (self._second[candidate] == second)
            found = torch.where(equal & (found < 0), candidate, found)
            if not bool((alike & ~equal & (found < 0)).any()):
                return found
            place = place + 1


def read_index(folder: Path, plan: CachePlan) -> list[ShardSummary]:
    """The summaries of a finished cache's files.

    Raises:
        DataError: the index is damaged, or of another plan.
    """
    file = folder / INDEX_FILE
    content = read_checked(file)
    if content.get("plan") != plan.digest():
        raise DataError(file, "is not of this folder's plan.json")
    return [ShardSummary(**entry) for entry in content["shards"]]


def open_shard(folder: Path, summary: ShardSummary, plan: CachePlan) -> Shard:
    """A file of a cache, if it is the one of which the index tells.

    Raises:
        DataError: it is missing, cut short, or another one.
    """
    file = folder / summary.file
    if not file.is_file():
        raise DataError(file, "is missing from the cache")
    size = file.stat().st_size
    if size != summary.num_bytes:
        raise DataError(file, f"is damaged: it has {size} bytes, and had {summary.num_bytes}")
    shard = Shard(file)
    if shard.plan_digest != plan.digest():
        raise DataError(file, "is damaged, or of another cache: its plan is another")
    if shard.directory_sha256() != summary.directory_sha256:
        raise DataError(file, "is damaged: its directory of sentences has changed")
    return shard


def _halves(keys: Tensor) -> tuple[Tensor, Tensor]:
    """Keys, their bytes one after the other, as two int64 each: ``[m]``, ``[m]``."""
    first, second = keys.contiguous().flatten().view(torch.int64).view(-1, 2).unbind(dim=-1)
    return first.contiguous(), second.contiguous()
