"""The divergences made of powers of the two distributions: Amari's α and Rényi's."""

from __future__ import annotations

import torch
from torch import Tensor

from sekd_plugin.checks import between
from sekd_plugin.divergences.base import Divergence, register_divergence
from sekd_plugin.errors import ConfigError

_ENDS = {0.0: "reverse_kl", 1.0: "forward_kl"}


@register_divergence("alpha")
class Alpha(Divergence):
    """Amari's alpha divergence: a path from reverse to forward Kullback–Leibler.

    Formula:
        D(ỹ ‖ q) = (1 − Σ_v ỹ_v^α·q_v^(1 − α)) / (α·(1 − α)), α = ``alpha``

    Use it to choose between covering the target (alpha near 1) and keeping to its main modes
    (near 0) by one number, always finite. As alpha → 1 it becomes forward_kl, as alpha → 0
    reverse_kl; at 0.5 it is four times ``hellinger``. No token costs more than
    1 / (alpha·(1 − alpha)). Amari's own parameter, often written α as well, is
    2·alpha − 1 or 1 − 2·alpha.

    Args:
        alpha: the target's exponent, strictly between 0 and 1.

    Source: Amari 1985, in the parametrisation of Cichocki & Amari 2010.
    """

    def __init__(self, alpha: float = 0.5) -> None:
        if alpha in _ENDS:
            raise ConfigError("alpha", f"{alpha:g} is the limit '{_ENDS[alpha]}'; use that")
        self.alpha = between("alpha", alpha, 0.0, 1.0, open_low=True, open_high=True)

    def forward(self, log_target: Tensor, log_student: Tensor) -> Tensor:
        """The α divergence: ``[n, V]``, ``[n, V]`` → ``[n]``."""
        return self._parts(log_target, log_student)[0]

    def value_and_gradient(self, log_target: Tensor, log_student: Tensor) -> tuple[Tensor, Tensor]:
        """D and −ỹ^α·q^(1 − α) / α; below α = ½ with q / α added, which would outgrow it."""
        value, decline = self._parts(log_target, log_student)
        if self.alpha < 0.5:
            return value, decline
        return value, ((1.0 - self.alpha) * decline).sub_(log_target.exp()).div_(self.alpha)

    def _parts(self, log_target: Tensor, log_student: Tensor) -> tuple[Tensor, Tensor]:
        if self.alpha < 0.5:  # D_α(ỹ ‖ q) = D_(1 − α)(q ‖ ỹ)
            value, decline = power_parts(log_student, log_target, self.alpha)
            return value / (1.0 - self.alpha), decline
        value, decline = power_parts(log_target, log_student, 1.0 - self.alpha)
        return value / self.alpha, decline


@register_divergence("renyi")
class Renyi(Divergence):
    """Rényi's divergence: forward Kullback–Leibler with the worst words weighted up or down.

    Formula:
        D(ỹ ‖ q) = log(Σ_v ỹ_v^r·q_v^(1 − r)) / (r − 1), r = ``order``

    Use it below 1 as a gentler forward KL, which a single word that the student rules out cannot
    make infinite; above 1 as a stricter one, which towards infinity becomes
    log max_v ỹ_v / q_v. As the order → 1 it becomes forward_kl; it grows with the order. Infinite
    where the student rules out all that the target holds possible, and above 1 where it rules
    out any of it.

    Args:
        order: r above 0, except 1.

    Source: Rényi 1961; van Erven & Harremoës, arXiv 1206.2459.
    """

    def __init__(self, order: float = 0.5) -> None:
        if order == 1.0:
            raise ConfigError("order", "1 is the limit 'forward_kl'; use that")
        self.order = between("order", order, 0.0, float("inf"), open_low=True, open_high=True)

    def forward(self, log_target: Tensor, log_student: Tensor) -> Tensor:
        """Rényi's divergence: ``[n, V]``, ``[n, V]`` → ``[n]``."""
        return self._value(log_target, log_student, self._log_powers(log_target, log_student))

    def value_and_gradient(self, log_target: Tensor, log_student: Tensor) -> tuple[Tensor, Tensor]:
        """D and −ỹ^r·q^(1 − r) / Σ_v ỹ_v^r·q_v^(1 − r)."""
        log_powers = self._log_powers(log_target, log_student)
        value = self._value(log_target, log_student, log_powers)
        return value, log_powers.softmax(dim=-1).neg_()

    def _log_powers(self, log_target: Tensor, log_student: Tensor) -> Tensor:
        """log(ỹ^r·q^(1 − r)), ``[n, V]``."""
        absent = torch.isneginf(log_target)
        target = log_target.masked_fill(absent, 0.0)
        log_ratio = target - log_student.masked_fill(absent, 0.0)
        return (target + (self.order - 1.0) * log_ratio).masked_fill(absent, -torch.inf)

    def _value(self, log_target: Tensor, log_student: Tensor, log_powers: Tensor) -> Tensor:
        excess = self.order - 1.0
        log_sum = torch.logsumexp(log_powers, dim=-1)
        # The logarithm of a sum near 1 is all rounding, and the sum of a large one overflows;
        # each row takes the form that is exact for it. The other form sees equal rows instead,
        # so that nothing infinite reaches its gradient.
        near = log_sum.detach().abs() < 0.5
        apart = ~near.unsqueeze(-1)
        powers = power_rows(
            log_target.masked_fill(apart, 0.0), log_student.masked_fill(apart, 0.0), -excess
        )
        far = log_sum.masked_fill(near, 0.0)
        return torch.where(near, torch.log1p(excess * powers), far) / excess


def power_rows(log_first: Tensor, log_second: Tensor, exponent: float) -> Tensor:
    """(1 − Σ_v a_v·(b_v / a_v)^s) / s alone: ``[n]``, see :func:`power_parts`."""
    return power_parts(log_first, log_second, exponent)[0]


def power_parts(log_first: Tensor, log_second: Tensor, exponent: float) -> tuple[Tensor, Tensor]:
    """(1 − Σ_v a_v·(b_v / a_v)^s) / s, a row at a time; as s → 0 it becomes KL(a ‖ b).

    The sum runs over (a − a·(b/a)^s) / s − a + b. For normalised rows the added terms cancel;
    they make every term non-negative for s < 1 and take rounding of the normalisers out of the
    sum in first order. The difference of powers is formed by ``expm1`` from the greater of the
    two, so that it neither cancels, however small s, nor overflows.

    Args:
        log_first: log a, ``[n, V]``.
        log_second: log b, ``[n, V]``.
        exponent: s < 1, not 0.

    Returns:
        ``[n]``; and, word by word, what its gradients are made of, c = (a − a·(b/a)^s) / s,
        ``[n, V]``. That by log a is (1 − s)·c, and that by log b is s·c − a, but for the b that
        is added.
    """
    neither = torch.isneginf(log_first) & torch.isneginf(log_second)
    first = log_first.masked_fill(neither, 0.0)
    second = log_second.masked_fill(neither, 0.0)
    shift = exponent * (second - first)
    falls = shift <= 0.0
    greater = torch.where(falls, first, (1.0 - exponent) * first + exponent * second).exp()
    fall = torch.expm1(torch.where(falls, shift, -shift)) * greater / exponent
    decline = torch.where(falls, -fall, fall)
    terms = decline - first.exp() + second.exp()
    return terms.masked_fill(neither, 0.0).sum(dim=-1), decline
