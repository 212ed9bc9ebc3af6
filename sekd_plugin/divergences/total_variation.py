"""The total variation distance."""

from __future__ import annotations

from torch import Tensor

from sekd_plugin.divergences.base import Divergence, register_divergence


@register_divergence("total_variation")
class TotalVariation(Divergence):
    """Total variation: the share of probability that lies on the wrong words.

    Formula:
        D(ỹ ‖ q) = ½·Σ_v |ỹ_v − q_v|

    Use it when hard tokens are to be told by how much probability is misplaced, whatever the
    words: it lies between 0 and 1, which makes Γ easy to choose. As a loss it is robust and
    slow: the gradient on a word is at most q_v, and does not shrink as the student gets close.
    Where ỹ_v = q_v its gradient is a subgradient, zero.

    Source: Wen et al., arXiv 2307.15190 (f-divergences for sequence-level distillation).
    """

    def forward(self, log_target: Tensor, log_student: Tensor) -> Tensor:
        """Half of the absolute differences: ``[n, V]``, ``[n, V]`` → ``[n]``."""
        return _half_of_absolute(log_target.exp() - log_student.exp())

    def value_and_gradient(self, log_target: Tensor, log_student: Tensor) -> tuple[Tensor, Tensor]:
        """D and −½·sign(ỹ − q)·q."""
        student = log_student.exp()
        difference = log_target.exp().sub_(student)
        return _half_of_absolute(difference), student.mul_(difference.sign_()).mul_(-0.5)


def _half_of_absolute(difference: Tensor) -> Tensor:
    return 0.5 * difference.abs().sum(dim=-1)
