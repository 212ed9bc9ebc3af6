"""Both Kullback–Leibler divergences in shares that each token's own gap decides."""

from __future__ import annotations

import torch
from torch import Tensor

from sekd_plugin.checks import between
from sekd_plugin.divergences.base import Divergence, register_divergence
from sekd_plugin.divergences.kullback_leibler import kl_parts, kl_rows

# A head that reaches its mass but for rounding has reached it. With head_mass = teacher_weight
# = 0.5 the gold word alone is such a head whenever the teacher does not believe in it.
_ROUNDING = 1e-6


@register_divergence("adaptive_kl")
class AdaptiveKL(Divergence):
    """Adaptive Kullback–Leibler: forward where the target's head is missed, reverse for its tail.

    Formula:
        D(ỹ ‖ q) = (g_head·KL(ỹ ‖ q) + g_tail·KL(q ‖ ỹ)) / (g_head + g_tail),
        g = Σ |ỹ_v − q_v| over the head and over the tail. The head is the fewest most probable
        words of ỹ that hold ``head_mass``, with all words as probable as the last of them

    Use it when training is short: forward KL mends the words that the target holds likely first,
    reverse KL the unlikely ones, and each token gets more of what it lacks. Its limits are the
    KLs: forward_kl where the tail fits, reverse_kl where the head does. The two shares are
    constants to the gradient, which is therefore not the slope of the value. Infinite against a
    one-hot target, so it needs ``teacher_weight`` above zero. It costs a sort of the vocabulary.

    Args:
        head_mass: μ, the probability that the head holds, strictly between 0 and 1.

    Source: AKL, arXiv 2404.02657, where μ = 0.5.
    """

    infinite_on_zero_target = True

    def __init__(self, head_mass: float = 0.5) -> None:
        self.head_mass = between("head_mass", head_mass, 0.0, 1.0, open_low=True, open_high=True)

    def forward(self, log_target: Tensor, log_student: Tensor) -> Tensor:
        """Both KLs in each row's shares: ``[n, V]``, ``[n, V]`` → ``[n]``."""
        share = self._forward_share(log_target.detach(), log_student.detach())
        return self._shared(
            share, kl_rows(log_target, log_student), kl_rows(log_student, log_target)
        )

    def value_and_gradient(self, log_target: Tensor, log_student: Tensor) -> tuple[Tensor, Tensor]:
        """D and, with g_head's share s, s·(−ỹ) + (1 − s)·q·log(q / ỹ)."""
        share = self._forward_share(log_target, log_student)
        forward, target, _ = kl_parts(log_target, log_student)
        reverse, _, weighted = kl_parts(log_student, log_target)
        ours = share.unsqueeze(-1)
        gradient = weighted.mul_(1.0 - ours).sub_(target.mul_(ours))
        return self._shared(share, forward, reverse), gradient

    def _shared(self, share: Tensor, forward: Tensor, reverse: Tensor) -> Tensor:
        # Where the head fits, the tail alone is judged, even if forward KL is infinite. What makes
        # reverse KL infinite is in the tail, so the tail's share is above zero, if only just.
        forward = torch.where(share == 0.0, 0.0, share * forward)
        reverse = torch.where(torch.isposinf(reverse), reverse, (1.0 - share) * reverse)
        return forward + reverse

    @torch.no_grad()
    def _forward_share(self, log_target: Tensor, log_student: Tensor) -> Tensor:
        target = log_target.exp()
        falling = target.sort(dim=-1, descending=True).values
        short = falling.cumsum(dim=-1) < self.head_mass * (1.0 - _ROUNDING)
        last = short.sum(dim=-1, keepdim=True).clamp(max=target.shape[-1] - 1)
        head = target >= falling.gather(-1, last)
        gap = (target - log_student.exp()).abs()
        head_gap = gap.masked_fill(~head, 0.0).sum(dim=-1)
        both = gap.sum(dim=-1)
        return torch.where(both > 0.0, head_gap / both, 0.5)
