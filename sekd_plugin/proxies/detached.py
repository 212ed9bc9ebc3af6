"""The proxy as an intermediate target."""

from __future__ import annotations

from torch import Tensor

from sekd_plugin.distributions import log_mixture
from sekd_plugin.proxies.base import Proxy, register_proxy


@register_proxy("detached")
class DetachedProxy(Proxy):
    """The student fits the blend itself: a target half-way, β of the way back from ỹ to q.

    Formula:
        loss = D(stopgrad(q̂) ‖ q), q̂ = β·q + (1 − β)·ỹ

    Use it as the mild form: with forward KL the gradient is (1 − β)·(q − ỹ), an easy token's
    made smaller, with the same direction everywhere.
    """

    def forward(
        self, log_target: Tensor, log_student: Tensor, beta: float
    ) -> tuple[Tensor, Tensor]:
        """(log q̂ without gradient, log q)."""
        return log_mixture(log_student.detach(), log_target, beta), log_student

    def pull_back(
        self,
        log_target: Tensor,
        log_student: Tensor,
        log_second: Tensor,
        beta: float,
        gradient: Tensor,
    ) -> Tensor:
        """w: the second of the pair is the student."""
        return gradient
