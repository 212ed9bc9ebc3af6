"""What a few seeds say of a score: mean, deviation and confidence interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A score over several seeds."""

    mean: float
    """Their mean."""

    deviation: float | None
    """The sample standard deviation, of n − 1; None for one seed."""

    low: float | None
    """The lower end of the 95 % interval of the mean; None for one seed."""

    high: float | None
    """Its upper end."""

    count: int
    """How many seeds."""


def summary(values: Sequence[float], confidence: float = 0.95) -> Summary:
    """Mean x̄, deviation s, and Student's interval for the mean.

    Formula:
        x̄ ± t(1 − α/2; n − 1) · s / √n, with α = 1 − confidence

    The interval holds if the values scatter like a normal distribution's.

    Args:
        values: one a seed, at least one.
        confidence: how often such an interval covers the true mean, in (0, 1).
    """
    n = len(values)
    mean = math.fsum(values) / n
    if n == 1:
        return Summary(mean=mean, deviation=None, low=None, high=None, count=1)
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    half = student_t_quantile(0.5 + 0.5 * confidence, n - 1) * deviation / math.sqrt(n)
    return Summary(mean=mean, deviation=deviation, low=mean - half, high=mean + half, count=n)


def student_t_quantile(probability: float, degrees: int) -> float:
    """t with P(T ≤ t) = probability, of Student's distribution.

    Args:
        probability: in [0.5, 1).
        degrees: of freedom, from 1.
    """
    # In θ = atan(t / √ν) the distribution is smooth and bounded, so halving finds it.
    low, high = 0.0, 0.5 * math.pi
    for _ in range(200):
        middle = 0.5 * (low + high)
        if 0.5 + 0.5 * _central_probability(middle, degrees) < probability:
            low = middle
        else:
            high = middle
    return math.sqrt(degrees) * math.tan(low)


def _central_probability(theta: float, degrees: int) -> float:
    """P(|T| ≤ √ν · tan θ), a finite sum for whole ν.

    Source: Abramowitz & Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4.
    """
    sine, cosine = math.sin(theta), math.cos(theta)
    odd = degrees % 2 == 1
    term = cosine if odd else 1.0
    total = 0.0
    for power in range(1 if odd else 0, degrees - 1, 2):
        total += term
        term *= cosine * cosine * (power + 1) / (power + 2)
    return 2.0 / math.pi * (theta + sine * total) if odd else sine * total
