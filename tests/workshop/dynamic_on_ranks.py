"""A dynamic threshold on two gloo ranks, of which one is at times without a target.

Each rank's Γ after every step is a file in the folder.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
import torch.distributed as dist

from sekd_plugin import SelfEvolutionKD


def one_rank(folder, rank, ranks):
    meeting_point = f"file://{folder}/ranks"
    dist.init_process_group("gloo", init_method=meeting_point, rank=rank, world_size=ranks)
    criterion = SelfEvolutionKD(
        threshold={"name": "dynamic", "config": {"statistic": "quantile", "quantile": 0.6}}
    )
    gammas = []
    for step in range(4):
        torch.manual_seed(step)
        student, teacher = torch.randn(10, 8), torch.randn(10, 8)
        targets = torch.randint(0, 8, (10,))
        # Step 1 leaves rank 1 without a target, step 2 without a batch at all.
        mine = [slice(0, 4), slice(4, 10)][rank] if step != 1 else [slice(0, 10), slice(0, 0)][rank]
        if not (step == 2 and rank == 1):
            part = slice(0, 10) if step == 2 else mine
            criterion(student[part], teacher[part], targets[part])
        criterion.step()
        gammas.append(criterion.threshold.gamma)
    (Path(folder) / f"{rank}.json").write_text(json.dumps(gammas))
    dist.destroy_process_group()
