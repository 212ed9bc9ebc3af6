"""The paper's proxy."""

from __future__ import annotations

from torch import Tensor

from sekd_plugin.distributions import log_mixture, through_mixture
from sekd_plugin.errors import ConfigError
from sekd_plugin.proxies.base import Proxy, register_proxy


@register_proxy("linear")
class LinearProxy(Proxy):
    """The student blended with the target, which is then learnt through the blend.

    Formula:
        loss = D(ỹ ‖ q̂), q̂ = β·q + (1 − β)·ỹ; with ``rescale`` D(ỹ ‖ q̂) / β

    Use it as the default: it is the paper's. With forward KL the gradient on the gold logit is
    at most β·q_y / (1 − β), so a word that the student does not believe in at all is not learnt
    from a hard token: start from a student that translates already.

    Args:
        rescale: divide by β, the factor by which the blend at least shrinks a forward KL. Near
            q = ỹ the gradient is then β times an easy token's, where it was β² times.

    Source: arXiv 2412.15303, the self-evolution loss.
    """

    def __init__(self, rescale: bool = False) -> None:
        self.rescale = rescale

    def forward(
        self, log_target: Tensor, log_student: Tensor, beta: float
    ) -> tuple[Tensor, Tensor]:
        """(log ỹ, log q̂) with q̂ the linear mixture."""
        return log_target, log_mixture(log_student, log_target, beta)

    def pull_back(
        self,
        log_target: Tensor,
        log_student: Tensor,
        log_second: Tensor,
        beta: float,
        gradient: Tensor,
    ) -> Tensor:
        """w·β·q / q̂."""
        return through_mixture(log_student, log_second, beta, gradient)

    def scale(self, beta: float) -> float:
        """1 / β with ``rescale``, else 1."""
        return 1.0 / beta if self.rescale else 1.0

    def check_beta(self, low: float) -> None:
        """β = 0 cannot be divided by."""
        if self.rescale and low <= 0.0:
            raise ConfigError("beta", "0 is not allowed with the linear proxy's rescale: true")
