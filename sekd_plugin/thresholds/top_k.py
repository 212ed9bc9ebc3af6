"""A set number of hard tokens."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from sekd_plugin.checks import at_least, between
from sekd_plugin.errors import ConfigError
from sekd_plugin.thresholds.base import Threshold, register_threshold


@register_threshold("top_k")
class TopKThreshold(Threshold):
    """The K hardest tokens, or a share of them, of each batch or of each sentence.

    Formula:
        hard ⇔ place of d (from the hardest) ≤ K; with ``ratio`` r, K = ⌊r·n + ½⌋.
        Exactly min(K, n) of n tokens; ties go to the earlier position

    Use it when the number of hard tokens must not depend on the model. Each forward call decides
    for itself, so K counts per micro-batch, and with ``scope: rank`` on each data-parallel rank by
    itself: R ranks have R·K hard tokens. With ``scope: global`` the micro-batches that all ranks
    have at a time are one batch of n tokens, exactly K of which are hard; ties go to the lower
    rank, then to the earlier position. It takes one exchange of difficulties for each micro-batch.
    Per sentence the choice does not depend on how sentences are batched or dealt out to ranks.

    Args:
        k: how many tokens, 0 or more; or
        ratio: which share of them, in [0, 1]. Exactly one of the two is given.
        per: ``batch`` or ``sentence``.
        scope: whose tokens a batch is, ``rank`` or ``global``; a sentence is on one rank anyway,
            so ``global`` is not for ``per: sentence``.
    """

    observes = False

    def __init__(
        self,
        k: int | None = None,
        ratio: float | None = None,
        per: Literal["batch", "sentence"] = "batch",
        scope: Literal["rank", "global"] = "rank",
    ) -> None:
        if (k is None) == (ratio is None):
            given = "neither was" if k is None else "both were"
            raise ConfigError("k" if k is None else "ratio", f"give either k or ratio; {given}")
        if k is not None:
            at_least("k", k, 0)
        if ratio is not None:
            between("ratio", ratio, 0.0, 1.0)
        if per not in ("batch", "sentence"):
            raise ConfigError("per", f"'{per}' is not allowed; it must be 'batch' or 'sentence'")
        if scope not in ("rank", "global"):
            raise ConfigError("scope", f"'{scope}' is not allowed; it must be 'rank' or 'global'")
        if scope == "global" and per == "sentence":
            raise ConfigError(
                "scope",
                "'global' is only for per: batch; a sentence is on one rank, so leave scope out",
            )
        self.k = k
        self.ratio = ratio
        self.per = per
        self.scope = scope
        self.decides_over_ranks = scope == "global"

    def decide(self, difficulty: Tensor) -> Tensor:
        """Mark the hardest of all: ``[n]`` → ``[n]`` bool."""
        return hardest(difficulty, self._count(difficulty.numel()))

    def decide_by_sentence(self, difficulty: Tensor, sentences: Tensor) -> Tensor:
        """Mark the hardest of the batch, or of each sentence."""
        if self.per == "batch":
            return self.decide(difficulty)
        hard = torch.zeros_like(difficulty, dtype=torch.bool)
        _, lengths = torch.unique_consecutive(sentences, return_counts=True)
        start = 0
        for length in lengths.tolist():
            rows = slice(start, start + length)
            hard[rows] = self.decide(difficulty[rows])
            start += length
        return hard

    def _count(self, n: int) -> int:
        return self.k if self.k is not None else share_of(n, self.ratio or 0.0)


def share_of(n: int, ratio: float) -> int:
    """How many of ``n`` tokens a ``ratio`` in [0, 1] is: ⌊ratio·n + ½⌋."""
    return math.floor(ratio * n + 0.5)


def hardest(difficulty: Tensor, k: int) -> Tensor:
    """Mark the min(k, n) greatest of ``difficulty`` ``[n]``; ties go to the earlier position."""
    order = torch.sort(difficulty, descending=True, stable=True).indices
    hard = torch.zeros_like(difficulty, dtype=torch.bool)
    hard[order[:k]] = True
    return hard
