"""Uneven batches on gloo ranks.

The student is one matrix under DistributedDataParallel, whose forward pass ends in the criterion,
as in training. Each rank's results are a file in the folder.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

from sekd_plugin import SelfEvolutionKD
from sekd_plugin.kernels.fused import ChunkBytes

TARGETS = {
    "uneven": lambda rank, ranks: (9, 2, 5, 12)[rank],
    "a rank without target tokens": lambda rank, ranks: (0, 7, 4, 1)[rank],
    "all but one without target tokens": lambda rank, ranks: 8 * (rank == 1),
    "no target token anywhere": lambda rank, ranks: 0,
    "the same on every rank": lambda rank, ranks: 6,
}
"""How many target tokens each rank's batch has."""

THRESHOLDS = {
    "one of all": {"name": "top_k", "config": {"k": 1, "scope": "global"}},
    "three of all": {"name": "top_k", "config": {"k": 3, "scope": "global"}},
    "more than there are": {"name": "top_k", "config": {"k": 100, "scope": "global"}},
    "a share of all": {"name": "top_k", "config": {"ratio": 0.4, "scope": "global"}},
    "three of each rank": {"name": "top_k", "config": {"k": 3, "scope": "rank"}},
    "none reaches it": {"name": "fixed", "config": {"gamma": 100.0}},
}


class Student(nn.Module):
    """Hidden states to losses."""

    def __init__(self, threshold):
        super().__init__()
        torch.manual_seed(0)
        self.weight = nn.Parameter(torch.randn(11, 5))
        self.criterion = SelfEvolutionKD(threshold=threshold, teacher_weight=0.6, beta=0.7)
        self.criterion.chunk_bytes = ChunkBytes(logits_bytes=4 * 11 * 4, cache_bytes=4 * 11 * 2)

    def forward(self, hidden, teacher_logits, targets, mask):
        return self.criterion.forward_linear(
            hidden, self.weight, targets=targets, mask=mask, teacher_logits=teacher_logits
        )


def batch_of(case, rank, ranks):
    """A rank's hidden states, teacher logits, targets and mask, ``[3, 4, …]``."""
    torch.manual_seed(1 if case == "the same on every rank" else rank + 1)
    order = torch.randperm(12)
    mask = torch.zeros(12, dtype=torch.bool)
    mask[order[: TARGETS[case](rank, ranks)]] = True
    hidden, teacher = torch.randn(3, 4, 5), torch.randn(3, 4, 11)
    return hidden, teacher, torch.randint(0, 11, (3, 4)), mask.view(3, 4)


def seen(output):
    """What a rank, or one process alone, has to show for a batch."""
    return {
        "hard": output.hard.tolist(),
        "difficulty": output.difficulty.tolist(),
        "gamma": output.gamma,
        "loss": float(output.loss),
    }


def one_rank(folder, rank, ranks):
    meeting_point = f"file://{folder}/ranks"
    dist.init_process_group("gloo", init_method=meeting_point, rank=rank, world_size=ranks)
    found = {}
    for name, threshold in THRESHOLDS.items():
        for case in TARGETS:
            student = nn.parallel.DistributedDataParallel(Student(threshold))
            batch = batch_of(case, rank, ranks)
            output = student(*batch)
            output.loss.backward()
            # DistributedDataParallel takes the mean over ranks; the sum is what is compared.
            gradient = student.module.weight.grad * ranks
            student.eval()
            with torch.no_grad():
                evaluated = student(*batch)
            found[f"{name}, {case}"] = {
                **seen(output),
                "gradient": gradient.tolist(),
                "evaluated": seen(evaluated),
            }
    (Path(folder) / f"{rank}.json").write_text(json.dumps(found))
    dist.destroy_process_group()
