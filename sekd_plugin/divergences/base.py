"""What a divergence is, and the names they go by."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor

from sekd_plugin.registry import Registry


class Divergence(ABC):
    """How far the student's distribution is from the target's: D(target ‖ student), row by row.

    A subclass writes :meth:`forward` in plain differentiable torch, and nothing else. It must be
    a true divergence, zero where the two rows are equal and above zero elsewhere, because the
    threshold compares its values. Each row is judged by itself.
    """

    infinite_on_zero_target: ClassVar[bool] = False
    """Whether D is infinite when the target gives no probability to a word that the student
    believes possible. Such a divergence cannot be measured against the gold word alone (λ = 0)."""

    @abstractmethod
    def forward(self, log_target: Tensor, log_student: Tensor) -> Tensor:
        """Compare rows of log-probabilities.

        Args:
            log_target: ``[n, V]``, fp32 or wider; ``-inf`` is a probability of zero.
            log_student: ``[n, V]``, likewise; the gradient flows through it.

        Returns:
            ``[n]``, in nats, one non-negative number a row.
        """

    def __call__(self, log_target: Tensor, log_student: Tensor) -> Tensor:
        """Compare rows: see :meth:`forward`."""
        return self.forward(log_target, log_student)


divergences: Registry[Divergence] = Registry(
    "divergence",
    Divergence,  # type: ignore[type-abstract]
    "sekd_plugin.divergences",
)
register_divergence = divergences.register
