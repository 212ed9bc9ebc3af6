"""Words divided among ranks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Division:
    """How a vocabulary is divided among the ranks of a group, in the order of the ranks."""

    group: dist.ProcessGroup
    """The ranks."""

    sizes: tuple[int, ...]
    """How many words each rank has."""

    rank: int
    """This rank's place among them."""

    @classmethod
    def of(cls, size: int, group: dist.ProcessGroup, device: torch.device) -> Division:
        """Tell each other how many words each has; this rank has ``size``."""
        own = torch.tensor([size], device=device)
        found = [torch.empty_like(own) for _ in range(group.size())]
        dist.all_gather(found, own, group=group)
        return cls(
            group=group, sizes=tuple(int(each) for each in torch.cat(found)), rank=group.rank()
        )

    @property
    def words(self) -> slice:
        """The words of this rank."""
        first = sum(self.sizes[: self.rank])
        return slice(first, first + self.sizes[self.rank])

    @property
    def total(self) -> int:
        """V, the number of all words."""
        return sum(self.sizes)

    def gather(self, logits: Tensor) -> Tensor:
        """All words of some rows: ``[r, V / ranks]`` → ``[r, V]``, the same on every rank."""
        width = max(self.sizes)
        own = logits.new_zeros(logits.shape[0], width)
        own[:, : logits.shape[1]] = logits
        found = [torch.empty_like(own) for _ in self.sizes]
        dist.all_gather(found, own, group=self.group)
        return torch.cat([part[:, :n] for part, n in zip(found, self.sizes, strict=True)], dim=-1)
