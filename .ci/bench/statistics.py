"""Medians, and ratios with their spread."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Spread:
    """A median and what lies around it."""

    median: float
    low: float
    """The 10th percentile."""
    high: float
    """The 90th percentile."""


def quantile(values: Sequence[float], share: float) -> float:
    """Linear between the two nearest; NaN of nothing."""
    if not values:
        return math.nan
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def spread(values: Sequence[float]) -> Spread:
    """Of some measurements."""
    return Spread(
        median=quantile(values, 0.5), low=quantile(values, 0.1), high=quantile(values, 0.9)
    )


def ratios(over: Sequence[float], under: Sequence[float]) -> Spread:
    """Of two contenders, round by round: what slows a round down slows both."""
    return spread([a / b for a, b in zip(over, under, strict=True)])
