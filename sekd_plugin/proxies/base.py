"""What a proxy is, and the names they go by."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from sekd_plugin.overrides import written_for
from sekd_plugin.registry import Registry


class Proxy(ABC):
    """What a hard token is trained on: the two distributions that the divergence compares there.

    A subclass writes :meth:`forward`; :meth:`pull_back` may be written as well, to save autograd's
    time.
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

    def pull_back(
        self,
        log_target: Tensor,
        log_student: Tensor,
        log_second: Tensor,
        beta: float,
        gradient: Tensor,
    ) -> Tensor:
        """From the gradient by the second of the pair to that by the student, in closed form.

        Optional. It is called without autograd. A subclass that overrides :meth:`forward` alone is
        left to autograd, whatever it inherits here.

        Args:
            log_target: ``[n, V]``, as in :meth:`forward`.
            log_student: ``[n, V]``, likewise.
            log_second: ``[n, V]``, the second of the pair that :meth:`forward` made of them.
            beta: β, likewise.
            gradient: ``[n, V]``, w = ∂D/∂(second), as
                :meth:`~sekd_plugin.Divergence.value_and_gradient` gives it: zero for words
                without probability. It may be changed in place.

        Returns:
            ∂D/∂log q, ``[n, V]``, up to a multiple of q in each row.
        """
        raise NotImplementedError(f"{type(self).__name__} gives no gradient in closed form")

    @property
    def is_analytic(self) -> bool:
        """Whether :meth:`pull_back` is there, and written for this :meth:`forward`."""
        return written_for(self, "pull_back", "forward", "__call__")

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
