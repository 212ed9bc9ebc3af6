"""What a threshold is, and the names they go by."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor

from sekd_plugin.registry import Registry


class Threshold(ABC):
    """Which tokens are hard, given each one's difficulty.

    A subclass writes :meth:`decide`. One that changes during training also writes :meth:`step`,
    and :meth:`state_dict` with :meth:`load_state_dict` for what it remembers. Where Γ is a number
    known before the batch, extend :class:`KnownGamma` instead and write only ``gamma``.
    """

    needs_batch: bool = True
    """Whether the decision needs all of the batch's difficulties first (two passes over the
    vocabulary), rather than a Γ known beforehand (one pass)."""

    observes: bool = True
    """Whether :meth:`step` reads the difficulties of the step; where it does not, they are neither
    kept nor gathered over ranks, and it is given none."""

    decides_over_ranks: bool = False
    """Whether the batches of all data-parallel ranks are decided on as one, where
    :attr:`needs_batch`: :meth:`decide` is given the tokens of all of them, in order of rank, and
    each rank takes its own part of the decision. The ranks meet once for each batch, so each must
    have the same number of batches."""

    @abstractmethod
    def decide(self, difficulty: Tensor) -> Tensor:
        """Say which tokens of a batch are hard.

        Args:
            difficulty: ``[n]``, ≥ 0, detached; n may be 0.

        Returns:
            ``[n]`` bool, True for a hard token.
        """

    def decide_by_sentence(self, difficulty: Tensor, sentences: Tensor) -> Tensor:
        """Like :meth:`decide`, for a threshold that must know where sentences end.

        Args:
            difficulty: ``[n]``.
            sentences: ``[n]`` int64, the number of each token's sentence, never decreasing.
        """
        return self.decide(difficulty)

    @property
    def gamma(self) -> float | None:
        """Γ as known before the batch, or None where the batch implies it."""
        return None

    def step(self, difficulty: Tensor) -> None:
        """Close an optimizer step.

        Args:
            difficulty: the difficulties of every target token of the step, over all of its
                micro-batches and ranks, sorted upwards, ``[N]``, on the CPU; N may be 0.
        """

    def state_dict(self) -> dict[str, float | int | None]:
        """What must survive a checkpoint."""
        return {}

    def load_state_dict(self, state: Mapping[str, float | int | None]) -> None:
        """Take back what :meth:`state_dict` gave."""


class KnownGamma(Threshold):
    """A threshold whose Γ is known before the batch: a token is hard when d > Γ, strictly."""

    needs_batch = False

    @property
    @abstractmethod
    def gamma(self) -> float:
        """Γ now, in the units of the difficulty; infinity while every token is easy."""

    def decide(self, difficulty: Tensor) -> Tensor:
        """Mark the tokens above Γ: ``[n]`` → ``[n]`` bool."""
        return difficulty > self.gamma


def implied_gamma(difficulty: Tensor, hard: Tensor) -> float:
    """The Γ that a decision amounts to: the greatest difficulty among the easy tokens.

    Every hard token's difficulty is at or above it (equal only where a tie was broken). Without
    an easy token it is the greatest number below all difficulties; without a hard one, or with
    no token at all, it is the greatest difficulty or infinity.

    Args:
        difficulty: ``[n]``.
        hard: ``[n]`` bool.
    """
    easy = difficulty[~hard]
    if easy.numel() > 0:
        return float(easy.max())
    if difficulty.numel() == 0:
        return float("inf")
    lowest = difficulty.min()
    return float(torch.nextafter(lowest, torch.full_like(lowest, -torch.inf)))


thresholds: Registry[Threshold] = Registry(
    "threshold",
    Threshold,  # type: ignore[type-abstract]
    "sekd_plugin.thresholds",
)
register_threshold = thresholds.register
