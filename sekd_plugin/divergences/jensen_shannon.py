"""The generalised Jensen–Shannon divergence."""

from __future__ import annotations

from torch import Tensor

from sekd_plugin.checks import between
from sekd_plugin.distributions import log_mixture
from sekd_plugin.divergences.base import Divergence, register_divergence
from sekd_plugin.divergences.kullback_leibler import kl_parts, kl_rows
from sekd_plugin.errors import ConfigError

_ENDS = {0.0: "reverse_kl", 1.0: "forward_kl"}


@register_divergence("jensen_shannon")
class JensenShannon(Divergence):
    """Jensen–Shannon: both distributions against their mixture; symmetric at beta = 0.5, bounded.

    Formula:
        D(ỹ ‖ q) = β·KL(ỹ ‖ m) + (1 − β)·KL(q ‖ m), with m = β·ỹ + (1 − β)·q

    Use it when a few wrong or very hard tokens would rule a KL: no token costs more than log 2
    at beta = 0.5. The price is a gradient that fades where the student is far off.

    Args:
        beta: the target's weight, strictly between 0 and 1. At the ends the value is zero for
            all rows; divided by beta or 1 − beta its limits are the two KLs.

    Source: Lin 1991; GKD, arXiv 2306.13649, with its convention for beta.
    """

    def __init__(self, beta: float = 0.5) -> None:
        if beta in _ENDS:
            raise ConfigError(
                "beta",
                f"{beta:g} makes the divergence zero everywhere; use '{_ENDS[beta]}' for that end",
            )
        self.beta = between("beta", beta, 0.0, 1.0, open_low=True, open_high=True)

    def forward(self, log_target: Tensor, log_student: Tensor) -> Tensor:
        """The weighted KLs to the mixture: ``[n, V]``, ``[n, V]`` → ``[n]``."""
        log_middle = log_mixture(log_target, log_student, self.beta)
        return self._weighted(kl_rows(log_target, log_middle), kl_rows(log_student, log_middle))

    def value_and_gradient(self, log_target: Tensor, log_student: Tensor) -> tuple[Tensor, Tensor]:
        """D and (1 − β)·q·log(q / m)."""
        log_middle = log_mixture(log_target, log_student, self.beta)
        from_target = kl_rows(log_target, log_middle)
        from_student, _, weighted = kl_parts(log_student, log_middle)
        return self._weighted(from_target, from_student), weighted.mul_(1.0 - self.beta)

    def _weighted(self, from_target: Tensor, from_student: Tensor) -> Tensor:
        return self.beta * from_target + (1.0 - self.beta) * from_student
