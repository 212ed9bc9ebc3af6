"""The Hellinger distance, squared."""

from __future__ import annotations

from torch import Tensor

from sekd_plugin.divergences.base import Divergence, register_divergence


@register_divergence("hellinger")
class Hellinger(Divergence):
    """Squared Hellinger distance: symmetric, between 0 and 1, smooth where the two are equal.

    Formula:
        D(ỹ ‖ q) = H² = ½·Σ_v (√ỹ_v − √q_v)² = 1 − Σ_v √(ỹ_v·q_v)

    Use it as a bounded loss that a few hopeless tokens cannot rule, with a smoother gradient than
    total variation's. It is squared because the distance H itself has no gradient at ỹ = q. It
    is a quarter of ``alpha`` at 0.5, and 1 − exp(−½·D) of ``renyi`` at 0.5.

    Source: Hellinger 1909.
    """

    def forward(self, log_target: Tensor, log_student: Tensor) -> Tensor:
        """Half of the squared differences of roots: ``[n, V]``, ``[n, V]`` → ``[n]``."""
        return _half_of_squared((0.5 * log_target).exp() - (0.5 * log_student).exp())

    def value_and_gradient(self, log_target: Tensor, log_student: Tensor) -> tuple[Tensor, Tensor]:
        """D and −½·(√ỹ − √q)·√q."""
        root = (0.5 * log_student).exp_()
        difference = (0.5 * log_target).exp_().sub_(root)
        return _half_of_squared(difference), root.mul_(difference).mul_(-0.5)


def _half_of_squared(difference: Tensor) -> Tensor:
    return 0.5 * difference.square().sum(dim=-1)
