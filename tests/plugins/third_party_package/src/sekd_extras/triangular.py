"""The triangular discrimination."""

from sekd_plugin import Divergence


class Triangular(Divergence):
    """Triangular discrimination: a bounded, symmetric relative of chi-squared.

    Formula:
        D(ỹ ‖ q) = scale·Σ_v (ỹ_v − q_v)² / (ỹ_v + q_v)

    Use it to see that a divergence needs one method.

    Args:
        scale: what the sum is multiplied by.

    Source: Topsøe 2000.
    """

    def __init__(self, scale: float = 1.0) -> None:
        self.scale = scale

    def forward(self, log_target, log_student):
        target, student = log_target.exp(), log_student.exp()
        both = target + student
        neither = both == 0
        terms = (target - student).square() / both.masked_fill(neither, 1.0)
        return self.scale * terms.sum(-1)
