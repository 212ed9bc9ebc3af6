"""From values to places on a chart, and where the ticks go."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """A straight map from values ``[low, high]`` to coordinates ``[start, end]``."""

    low: float
    """The value at ``start``."""

    high: float
    """The value at ``end``."""

    start: float
    """A coordinate."""

    end: float
    """Another; it may be the smaller one, as SVG counts downwards."""

    def __call__(self, value: float) -> float:
        """The coordinate of ``value``."""
        share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)


def extent(values: Sequence[float], *, zero: bool = False) -> tuple[float, float]:
    """Smallest and largest value with a little room, never empty; ``zero`` keeps 0 in sight."""
    low, high = min(values), max(values)
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    room = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    return (low if zero and low == 0.0 else low - room), high + room


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers in ``[low, high]``, about ``count`` of them: steps of 1, 2 or 5 × 10^k."""
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if raw <= power * factor * 1.0001)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [0.0 if number == 0 else number * step for number in range(first, last + 1)]


def tick_text(value: float, values: Sequence[float]) -> str:
    """``value`` with as many decimals as the distance of the ticks needs."""
    step = values[1] - values[0] if len(values) > 1 else abs(value) or 1.0
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    text = f"{value:,.{decimals}f}"
    return text.replace("-", "−")
