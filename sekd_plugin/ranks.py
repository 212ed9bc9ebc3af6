"""What each rank has, brought together from all of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class Ranks:
    """The ranks of a group; this process alone where ``torch.distributed`` is not initialised."""

    group: dist.ProcessGroup | None = None
    """Which ranks; None is every rank of ``torch.distributed``."""

    @property
    def number(self) -> int:
        """How many they are."""
        return dist.get_world_size(self.group) if _is_initialized() else 1

    @property
    def own(self) -> int:
        """Which of them this process is, counted from 0."""
        return dist.get_rank(self.group) if _is_initialized() else 0

    def gather(self, values: Tensor) -> list[Tensor]:
        """Every rank's ``values [n_rank, …]``, in order of rank: the same on every rank.

        Each rank must call it, and may bring its own number of values, or none.

        Args:
            values: of one dtype and one inner shape on all ranks, on any device; the result is on
                the device that the group works with.
        """
        if self.number == 1:
            return [values]
        # NCCL moves what is on a GPU alone; what a checkpoint brought back is on the CPU.
        on_gpu = dist.get_backend(self.group) == dist.Backend.NCCL
        values = values.to(torch.device("cuda", torch.cuda.current_device()) if on_gpu else "cpu")
        counts = torch.zeros(self.number, dtype=torch.int64, device=values.device)
        dist.all_gather_into_tensor(counts, counts.new_tensor([len(values)]), group=self.group)
        sizes = [int(count) for count in counts]
        padded = values.new_zeros(max(sizes), *values.shape[1:])
        padded[: len(values)] = values
        gathered = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(gathered, padded, group=self.group)
        return [part[:size] for part, size in zip(gathered, sizes, strict=True)]


def _is_initialized() -> bool:
    return dist.is_available() and dist.is_initialized()
