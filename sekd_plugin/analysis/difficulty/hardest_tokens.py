"""The gold words that are most often hard."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

MOST = 200
"""How many are listed."""

_SEEN = 5


@dataclass(frozen=True, kw_only=True)
class OftenHard:
    """A gold word."""

    word: int
    """Its id."""

    tokens: int
    """How often it occurs."""

    hard: int
    """How often it is hard."""

    mean: float
    """The mean of its finite difficulties; infinity where there are none."""


def often_hard(targets: Tensor, difficulty: Tensor, hard: Tensor) -> list[OftenHard]:
    """The words that are hard most often, and those that are hard in the greatest share.

    The first are listed by number; the second, of those that occur five times or more, follow.

    Args:
        targets: ``[n]`` gold ids.
        difficulty: ``[n]``.
        hard: ``[n]`` bool.
    """
    size = int(targets.max()) + 1
    tokens = torch.bincount(targets, minlength=size)
    hards = torch.bincount(targets[hard], minlength=size)
    finite = torch.isfinite(difficulty)
    sums = torch.zeros(size, dtype=torch.float64)
    sums.index_add_(0, targets[finite], difficulty[finite].double())
    means = sums / torch.bincount(targets[finite], minlength=size)
    by_number = _first(hards, hards > 0)
    share = hards / tokens.clamp(min=1)
    by_share = _first(share, (hards > 0) & (tokens >= _SEEN))
    return [
        OftenHard(
            word=word,
            tokens=int(tokens[word]),
            hard=int(hards[word]),
            mean=float(means[word].nan_to_num(nan=torch.inf)),
        )
        for word in dict.fromkeys([*by_number, *by_share])
    ]


def _first(values: Tensor, allowed: Tensor) -> list[int]:
    """The allowed ids of the greatest values, the smaller id first among equals."""
    order = torch.sort(values, descending=True, stable=True).indices
    found: list[int] = order[allowed[order]][:MOST].tolist()
    return found
