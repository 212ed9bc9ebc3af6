"""Values of one optimizer step, brought together from every rank."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


def gather_values(values: Tensor, group: dist.ProcessGroup | None) -> Tensor:
    """Every rank's ``values [n_rank]`` as ``[N]``, in order of rank; the same on every rank.

    Ranks may bring different numbers of values, or none.

    Args:
        values: floats, on any device; the result is on the device that the group works with.
        group: the ranks; None is every rank of ``torch.distributed``, or this process alone
            where that is not initialised.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size(group) == 1:
        return values
    # NCCL moves what is on a GPU alone; what a checkpoint brought back is on the CPU.
    on_gpu = dist.get_backend(group) == dist.Backend.NCCL
    values = values.to(torch.device("cuda", torch.cuda.current_device()) if on_gpu else "cpu")
    counts = torch.zeros(dist.get_world_size(group), dtype=torch.int64, device=values.device)
    dist.all_gather_into_tensor(counts, counts.new_tensor([values.numel()]), group=group)
    sizes = [int(count) for count in counts]
    padded = values.new_zeros(max(sizes))
    padded[: values.numel()] = values
    gathered = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(gathered, padded, group=group)
    return torch.cat([part[:size] for part, size in zip(gathered, sizes, strict=True)])
