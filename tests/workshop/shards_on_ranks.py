"""Shards of the straining rows on gloo ranks; each rank's result is a file in the folder."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import torch
import torch.distributed as dist
from forward_kl_rows import straining_rows
from streamed_rows import streamed

from sekd_plugin.kernels import passes
from sekd_plugin.kernels.division import Division


def one_rank(folder, rank, ranks):
    meeting_point = f"file://{folder}/ranks"
    dist.init_process_group("gloo", init_method=meeting_point, rank=rank, world_size=ranks)
    student, teacher, targets = straining_rows(33, torch.float32)
    cuts = [33 * place // ranks for place in range(ranks + 1)]
    words = slice(cuts[rank], cuts[rank + 1])
    found = streamed(
        passes,
        student[:, words],
        teacher[:, words],
        targets,
        {"teacher_weight": 0.5, "beta": 0.5},
        division=Division(
            group=dist.group.WORLD,
            sizes=tuple(end - start for start, end in itertools.pairwise(cuts)),
            rank=rank,
        ),
    )
    values = {name: value.tolist() for name, value in found.items()}
    (Path(folder) / f"{rank}.json").write_text(json.dumps(values))
    dist.destroy_process_group()
