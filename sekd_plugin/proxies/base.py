"""What a proxy is, and the names they go by."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from sekd_plugin.registry import Registry


class Proxy(ABC):
    """What a hard token is trained on: the two distributions that the divergence compares there.

    A subclass writes :meth:`forward`.
    """

    @abstractmethod
    def forward(
        self, log_target: Tensor, log_student: Tensor, beta: float
    ) -> tuple[Tensor, Tensor]:
        """Form the pair that the divergence compares, D(first ‖ second), on hard rows.

        Args:
            log_target: log ỹ, ``[n, V]``, a constant.
            log_student: log q, ``[n, V]``; the gradient flows through it.
            beta: β in [0, 1], the student's share.

        Returns:
            Two log-distributions, each ``[n, V]``.
        """

    def scale(self, beta: float) -> float:
        """What a hard token's divergence is multiplied by; 1 unless the proxy says otherwise."""
        return 1.0

    def check_beta(self, low: float) -> None:
        """Refuse, with a ConfigError, a β that this proxy cannot take; ``low`` is the least."""

    def __call__(
        self, log_target: Tensor, log_student: Tensor, beta: float
    ) -> tuple[Tensor, Tensor]:
        """Form the pair: see :meth:`forward`."""
        return self.forward(log_target, log_student, beta)


proxies: Registry[Proxy] = Registry(
    "proxy",
    Proxy,  # type: ignore[type-abstract]
    "sekd_plugin.proxies",
)
register_proxy = proxies.register
