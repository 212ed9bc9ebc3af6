"""The proxy mixed in log space."""

from __future__ import annotations

from torch import Tensor

from sekd_plugin.distributions import log_geometric_mixture
from sekd_plugin.proxies.base import Proxy, register_proxy


@register_proxy("log_linear")
class LogLinearProxy(Proxy):
    """The student blended with the target geometrically, then learnt through the blend.

    Formula:
        loss = D(ỹ ‖ q̂), q̂ ∝ q^β · ỹ^(1 − β)

    Use it when hard tokens must still be learnt: with forward KL the gradient is β·(q̂ − ỹ),
    which does not vanish with q_y as the linear proxy's does. Words that ỹ rules out are ruled
    out of q̂ as well, so a one-hot target (λ = 0) leaves nothing to learn on a hard token.
    """

    def forward(
        self, log_target: Tensor, log_student: Tensor, beta: float
    ) -> tuple[Tensor, Tensor]:
        """(log ỹ, log q̂) with q̂ the normalised geometric mixture."""
        return log_target, log_geometric_mixture(log_student, log_target, beta)

    def pull_back(
        self,
        log_target: Tensor,
        log_student: Tensor,
        log_second: Tensor,
        beta: float,
        gradient: Tensor,
    ) -> Tensor:
        """β·(w − q̂·Σ w)."""
        total = gradient.sum(dim=-1, keepdim=True)
        return gradient.addcmul_(log_second.exp(), total, value=-1.0).mul_(beta)
