"""The streamed kernel over shards of the vocabulary, in one process."""

from __future__ import annotations

from itertools import pairwise

import torch
from streamed_rows import every_second

from sekd_plugin.kernels.vocabulary_shards import merge_here


def streamed_in_shards(
    passes, student, teacher, targets, settings, places, temperature=1.0, decide=every_second
):
    """Loss, difficulty and gradient of rows that are cut at these words; hard rows count twice."""
    cuts = [0, *places, student.shape[-1]]
    shards = [
        (student[:, first:end], teacher[:, first:end], targets) for first, end in pairwise(cuts)
    ]
    softened = {"temperature": temperature}
    seen = passes.finish(
        merge_here(
            [
                passes.statistics(*shard, **softened, first_word=first)
                for shard, first in zip(shards, cuts, strict=False)
            ]
        ),
        teacher_weight=settings["teacher_weight"],
    )
    hard = decide(seen.difficulty)
    rows = hard.nonzero().squeeze(-1)
    sums = [
        passes.hard_sums(*shard, seen, rows, **softened, **settings, first_word=first)
        for shard, first in zip(shards, cuts, strict=False)
    ]
    token_loss, mean = seen.difficulty.clone(), torch.zeros_like(seen.difficulty)
    token_loss[rows] = 2.0 * torch.stack([loss for loss, _ in sums]).sum(0)
    mean[rows] = torch.stack([part for _, part in sums]).sum(0)
    gradients = []
    for shard, first in zip(shards, cuts, strict=False):
        gradients.append(torch.full_like(shard[0], torch.nan))
        passes.gradient(
            *shard,
            seen,
            hard,
            mean,
            **softened,
            **settings,
            first_word=first,
            slope=1.0 / temperature,
            hard_scale=2.0,
            out=gradients[-1],
        )
    return {**vars(seen), "token_loss": token_loss, "gradient": torch.cat(gradients, -1)} | {
        "hard": hard
    }
