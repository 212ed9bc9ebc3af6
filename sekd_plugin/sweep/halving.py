"""Successive halving: which trials of a row go on.

Source: Jamieson & Talwalkar, AISTATS 2016.
"""

from __future__ import annotations

import math
from collections.abc import Mapping


def survivors(scores: Mapping[str, float], keep: float) -> list[str]:
    """The best ``⌈keep · n⌉`` of n trials, at least one, in the order they were given.

    Args:
        scores: trial → its mean score on the validation set; higher is better. Of equal ones the
            earlier goes on.
        keep: the share, in (0, 1).
    """
    # Rounded first, so that 0.3 of ten is three though the product is a little more.
    count = max(1, math.ceil(round(keep * len(scores), 9)))
    names = list(scores)
    best = sorted(names, key=lambda name: (-scores[name], names.index(name)))[:count]
    return [name for name in names if name in best]
