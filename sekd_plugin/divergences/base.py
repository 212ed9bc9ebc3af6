"""What a divergence is, and the names they go by."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor

from sekd_plugin.errors import ComponentError
from sekd_plugin.overrides import written_for
from sekd_plugin.registry import Registry


class Divergence(ABC):
    """How far the student's distribution is from the target's: D(target ‖ student), row by row.

    A subclass writes :meth:`forward` in plain differentiable torch; nothing else is needed. It must
    be a true divergence, zero where the two rows are equal and above zero elsewhere, because the
    threshold compares its values. Each row is judged by itself. :meth:`value_and_gradient` may be
    written as well, to save autograd's time.
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

    def value_and_gradient(self, log_target: Tensor, log_student: Tensor) -> tuple[Tensor, Tensor]:
        """Compare rows, and give the gradient in closed form; optional.

        Formula:
            D and w = ∂D/∂log q; the gradient by the logits is then w − q·Σ_v w_v. So w may differ
            from autograd's by a multiple of q in each row, which the softmax takes away

        It is called without autograd, and leaves its arguments as they are. w is finite wherever
        D is. A subclass that overrides :meth:`forward` alone is left to autograd, whatever it
        inherits here.

        Args:
            log_target: ``[n, V]``, as in :meth:`forward`.
            log_student: ``[n, V]``, log q, likewise.

        Returns:
            D, ``[n]``, the same as from :meth:`forward`, and w, a new ``[n, V]``.
        """
        raise NotImplementedError(f"{type(self).__name__} gives no gradient in closed form")

    @property
    def is_analytic(self) -> bool:
        """Whether :meth:`value_and_gradient` is there, and written for this :meth:`forward`."""
        return written_for(self, "value_and_gradient", "forward", "__call__")

    def __call__(self, log_target: Tensor, log_student: Tensor) -> Tensor:
        """Compare rows: see :meth:`forward`.

        Raises:
            ComponentError: it did not return one number a row.
        """
        value = self.forward(log_target, log_student)
        if value.shape != log_target.shape[:-1]:
            raise ComponentError(
                type(self).__name__,
                f"returned the shape {tuple(value.shape)} for rows {tuple(log_target.shape)}; it "
                f"must be one number a row, {tuple(log_target.shape[:-1])}",
            )
        return value


divergences: Registry[Divergence] = Registry(
    "divergence",
    Divergence,  # type: ignore[type-abstract]
    "sekd_plugin.divergences",
)
register_divergence = divergences.register
