"""What a criterion returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from sekd_plugin.errors import SekdError


@dataclass(frozen=True, kw_only=True)
class CriterionOutput:
    """The loss of one batch, and what was seen on the way.

    Per-token tensors are detached and hold the target tokens in the order of ``mask.nonzero()``.
    """

    loss: Tensor
    """Scalar, the sum over target tokens, differentiable; divide once, by the global count."""

    num_targets: int
    """How many target tokens the sum runs over."""

    difficulty: Tensor
    """``[n]`` d = D(ỹ ‖ q), in nats for the KL divergences."""

    hard: Tensor
    """``[n]`` bool, whether d is above Γ."""

    gamma: float
    """Γ of this batch: known beforehand, or implied by the threshold's decision."""

    token_loss: Tensor
    """``[n]`` each token's share of the loss."""

    cross_entropy: Tensor
    """``[n]`` −log q of the gold word at temperature 1, in nats."""

    agreement: Tensor | None
    """``[n]`` bool, whether teacher and student put the same word first; None without a teacher."""


class NonFiniteLogitsError(SekdError):
    """A model's logits hold NaN or +inf on target tokens."""

    exit_code: ClassVar[int] = 3

    def __init__(self, model: str, rows: Sequence[int], num_targets: int) -> None:
        super().__init__(model, rows, num_targets)
        self.model = model
        """``"student"`` or ``"teacher"``."""
        self.rows = list(rows)
        """Which of the n target rows, counted in the order of ``mask.nonzero()``."""
        self.num_targets = num_targets

    def __str__(self) -> str:
        return (
            f"the {self.model}'s logits are not finite on {len(self.rows)} of "
            f"{self.num_targets} target tokens (the first is target row {self.rows[0]})"
        )
