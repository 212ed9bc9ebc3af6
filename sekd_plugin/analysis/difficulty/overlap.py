"""How far two choices of hard tokens agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor


def jaccard(first: Tensor, second: Tensor) -> float:
    """What two sets share: |A ∩ B| / |A ∪ B|; 1 where both are empty.

    Args:
        first: ``[n]`` bool.
        second: ``[n]`` bool.
    """
    both = int((first | second).sum())
    return int((first & second).sum()) / both if both else 1.0


def jaccard_matrix(sets: Sequence[Tensor]) -> list[list[float]]:
    """Every set with every other."""
    return [[jaccard(first, second) for second in sets] for first in sets]


@dataclass(frozen=True, kw_only=True)
class Movement:
    """How tokens moved between two checkpoints, at one Γ."""

    stayed_hard: int
    """Hard at both."""

    became_easy: int
    """Hard at the first, easy at the second."""

    became_hard: int
    """Easy at the first, hard at the second."""

    stayed_easy: int
    """Easy at both."""


def movement(before: Tensor, after: Tensor) -> Movement:
    """Count the tokens by what they were and what they became: ``[n]`` bool each."""
    return Movement(
        stayed_hard=int((before & after).sum()),
        became_easy=int((before & ~after).sum()),
        became_hard=int((~before & after).sum()),
        stayed_easy=int((~before & ~after).sum()),
    )
