"""A preset Γ."""

from __future__ import annotations

from sekd_plugin.checks import between
from sekd_plugin.thresholds.base import KnownGamma, register_threshold


@register_threshold("fixed")
class FixedThreshold(KnownGamma):
    """A preset Γ, the same for all of training, as the paper has it.

    Formula:
        hard ⇔ d > Γ

    Use it when Γ was chosen by looking at a histogram of difficulties. Γ = infinity makes every
    token easy, which is plain knowledge distillation.

    Args:
        gamma: Γ ≥ 0, in nats for the KL divergences.

    Source: arXiv 2412.15303.
    """

    observes = False

    def __init__(self, gamma: float) -> None:
        self._gamma = between("gamma", gamma, 0.0)

    @property
    def gamma(self) -> float:
        """The preset Γ."""
        return self._gamma
