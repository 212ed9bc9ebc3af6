"""Both Kullback–Leibler divergences in fixed shares."""

from __future__ import annotations

from torch import Tensor

from sekd_plugin.checks import between
from sekd_plugin.divergences.base import Divergence, register_divergence
from sekd_plugin.divergences.kullback_leibler import kl_parts, kl_rows
from sekd_plugin.errors import ConfigError

_ENDS = {0.0: "reverse_kl", 1.0: "forward_kl"}


@register_divergence("symmetric_kl")
class SymmetricKL(Divergence):
    """Forward and reverse Kullback–Leibler together, in fixed shares.

    Formula:
        D(ỹ ‖ q) = w·KL(ỹ ‖ q) + (1 − w)·KL(q ‖ ỹ), with w = ``forward_weight``

    Use it when the student should neither miss what the target holds possible nor believe what
    it rules out. At 0.5 it is half of Jeffreys' divergence and symmetric; its limits are
    reverse_kl as w → 0 and forward_kl as w → 1. Infinite against a one-hot target, so it needs
    ``teacher_weight`` above zero.

    Args:
        forward_weight: w, the share of forward KL, strictly between 0 and 1.

    Source: Jeffreys 1946.
    """

    infinite_on_zero_target = True

    def __init__(self, forward_weight: float = 0.5) -> None:
        if forward_weight in _ENDS:
            raise ConfigError(
                "forward_weight",
                f"{forward_weight:g} leaves one of the two; use '{_ENDS[forward_weight]}' for it",
            )
        self.forward_weight = between(
            "forward_weight", forward_weight, 0.0, 1.0, open_low=True, open_high=True
        )

    def forward(self, log_target: Tensor, log_student: Tensor) -> Tensor:
        """Both KLs in their shares: ``[n, V]``, ``[n, V]`` → ``[n]``."""
        return self._shared(kl_rows(log_target, log_student), kl_rows(log_student, log_target))

    def value_and_gradient(self, log_target: Tensor, log_student: Tensor) -> tuple[Tensor, Tensor]:
        """D and w·(−ỹ) + (1 − w)·q·log(q / ỹ)."""
        forward, target, _ = kl_parts(log_target, log_student)
        reverse, _, weighted = kl_parts(log_student, log_target)
        return self._shared(forward, reverse), self._shared(target.neg_(), weighted)

    def _shared(self, forward: Tensor, reverse: Tensor) -> Tensor:
        return self.forward_weight * forward + (1.0 - self.forward_weight) * reverse
