"""Range checks that constructors make on their own arguments."""

from __future__ import annotations

import math
from collections.abc import Collection

from sekd_plugin.errors import ConfigError, did_you_mean


def between(
    key: str,
    value: float,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    open_low: bool = False,
    open_high: bool = False,
) -> float:
    """Return ``value`` if it lies between ``low`` and ``high``, ends included unless open.

    Raises:
        ConfigError: it lies outside, is NaN, or is not a number.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(key, f"{value!r} is not allowed; it must be a number")
    above = value > low if open_low else value >= low
    below = value < high if open_high else value <= high
    if above and below:
        return float(value)
    left = f"{low:g} {'<' if open_low else '<='} " if low > -math.inf else ""
    right = f" {'<' if open_high else '<='} {high:g}" if high < math.inf else ""
    raise ConfigError(key, f"{value!r} is out of range; it must satisfy {left}{key}{right}")


def at_least(key: str, value: int, low: int) -> int:
    """Return the whole number ``value`` if it is ``low`` or more.

    Raises:
        ConfigError: it is smaller, or not a whole number.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigError(key, f"{value!r} is not allowed; it must be a whole number")
    if value >= low:
        return value
    raise ConfigError(key, f"{value!r} is out of range; it must be {low} or more")


def one_of(key: str, value: str, known: Collection[str]) -> str:
    """Return ``value`` if it is one of the ``known`` words.

    Raises:
        ConfigError: it is not; the message names the nearest known word.
    """
    if value in known:
        return value
    raise ConfigError(key, f"'{value}' is not known; {did_you_mean(value, known)}")
