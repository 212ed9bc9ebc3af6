"""The skewed Kullback–Leibler divergences: a KL to a blend of both distributions."""

from __future__ import annotations

from torch import Tensor

from sekd_plugin.checks import between
from sekd_plugin.distributions import log_mixture, through_mixture
from sekd_plugin.divergences.base import Divergence, register_divergence
from sekd_plugin.divergences.kullback_leibler import kl_parts, kl_rows
from sekd_plugin.errors import ConfigError


@register_divergence("skew_forward_kl")
class SkewForwardKL(Divergence):
    """Skewed forward Kullback–Leibler: the target against a student that some of it is mixed into.

    Formula:
        D(ỹ ‖ q) = KL(ỹ ‖ m), with m = skew·ỹ + (1 − skew)·q

    Use it when forward KL's gradients are too rough on words that the student rules out: no
    token costs more than log(1 / skew). It is forward_kl as skew → 0 and vanishes as skew → 1;
    near ỹ = q it is (1 − skew)² times forward_kl.

    Args:
        skew: the share of the target that is mixed into the student, strictly between 0 and 1.

    Source: DistiLLM, arXiv 2402.03898, with its convention; Lee 2001.
    """

    def __init__(self, skew: float = 0.1) -> None:
        self.skew = _skew(skew, "forward_kl")

    def forward(self, log_target: Tensor, log_student: Tensor) -> Tensor:
        """KL(target ‖ blend): ``[n, V]``, ``[n, V]`` → ``[n]``."""
        return kl_rows(log_target, log_mixture(log_target, log_student, self.skew))

    def value_and_gradient(self, log_target: Tensor, log_student: Tensor) -> tuple[Tensor, Tensor]:
        """D and −(1 − skew)·ỹ·q / m."""
        share = 1.0 - self.skew
        log_middle = log_mixture(log_target, log_student, self.skew)
        value, target, _ = kl_parts(log_target, log_middle)
        return value, through_mixture(log_student, log_middle, share, target.neg_())


@register_divergence("skew_reverse_kl")
class SkewReverseKL(Divergence):
    """Skewed reverse Kullback–Leibler: the student against a target that some of it is mixed into.

    Formula:
        D(ỹ ‖ q) = KL(q ‖ m), with m = skew·q + (1 − skew)·ỹ

    Use it as a reverse KL that is finite everywhere, a one-hot target included: no token costs
    more than log(1 / skew). It is reverse_kl as skew → 0 and vanishes as skew → 1; near ỹ = q it
    is (1 − skew)² times reverse_kl.

    Args:
        skew: the share of the student that is mixed into the target, strictly between 0 and 1.

    Source: DistiLLM, arXiv 2402.03898, with its convention.
    """

    def __init__(self, skew: float = 0.1) -> None:
        self.skew = _skew(skew, "reverse_kl")

    def forward(self, log_target: Tensor, log_student: Tensor) -> Tensor:
        """KL(student ‖ blend): ``[n, V]``, ``[n, V]`` → ``[n]``."""
        return kl_rows(log_student, log_mixture(log_student, log_target, self.skew))

    def value_and_gradient(self, log_target: Tensor, log_student: Tensor) -> tuple[Tensor, Tensor]:
        """D and q·log(q / m) − skew·q² / m."""
        log_middle = log_mixture(log_student, log_target, self.skew)
        value, student, weighted = kl_parts(log_student, log_middle)
        through = through_mixture(log_student, log_middle, self.skew, student)
        return value, weighted.sub_(through)


def _skew(skew: float, limit: str) -> float:
    if skew == 0.0:
        raise ConfigError("skew", f"0 is not allowed; without skew it is '{limit}', use that")
    if skew == 1.0:
        raise ConfigError("skew", "1 makes the divergence zero everywhere; it must be 0 < skew < 1")
    return between("skew", skew, 0.0, 1.0, open_low=True, open_high=True)
