"""Dynamic thresholds whose rows are shared out among gloo ranks in several ways, or on one alone.

Each rank's Γ after every step is a file in the folder.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
import torch.distributed as dist

from sekd_plugin import SelfEvolutionKD

SHARES = [
    [(0, 10), None],
    [(0, 0), (0, 0)],
    [(0, 1), (1, 10)],
    [(0, 0), (0, 10)],
    [(0, 7), (7, 10)],
]
"""Which rows each rank has: rank 1 none at first, then nobody any, then uneven shares."""


def rows_of(step):
    torch.manual_seed(step)
    student, teacher = torch.randn(10, 9), torch.randn(10, 9)
    return student, teacher, torch.randint(0, 9, (10,))


def one_rank(folder, rank, ranks):
    if ranks > 1:
        meeting_point = f"file://{folder}/ranks"
        dist.init_process_group("gloo", init_method=meeting_point, rank=rank, world_size=ranks)
    criteria = [
        SelfEvolutionKD(threshold="dynamic"),
        SelfEvolutionKD(
            divergence="jensen_shannon",
            threshold={"name": "dynamic", "config": {"statistic": "quantile", "quantile": 0.6}},
        ),
    ]
    gammas = []
    for step, share in enumerate(SHARES):
        student, teacher, targets = rows_of(step)
        for criterion in criteria:
            for ends in [share[rank]] if ranks > 1 else share:
                if ends is not None:
                    part = slice(*ends)
                    criterion(student[part], teacher[part], targets[part])
            criterion.step()
        gammas.append([criterion.threshold.gamma for criterion in criteria])
    if ranks > 1:
        gammas.append(gamma_of_its_own(rank, *rows_of(len(SHARES) - 1)))
        dist.destroy_process_group()
    (Path(folder) / f"{rank}.json").write_text(json.dumps(gammas))


def gamma_of_its_own(rank, student, teacher, targets):
    """What a rank learns that does not gather, which is what it learns in a group of one."""
    part = slice(0, 4 + rank)
    # Ranks that see the same data, as under tensor parallelism, count it once.
    same = SelfEvolutionKD(threshold="dynamic")
    same.gather_over_ranks = False
    same(student[part], teacher[part], targets[part])
    same.step()
    # A group of one rank knows of no other.
    alone = SelfEvolutionKD(threshold="dynamic")
    groups = [dist.new_group([0]), dist.new_group([1])]
    alone.process_group = groups[rank]
    alone(student[part], teacher[part], targets[part])
    alone.step()
    assert same.threshold.gamma == alone.threshold.gamma
    return same.threshold.gamma
