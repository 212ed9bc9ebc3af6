"""Settings as a file has them: mappings and lists of plain values, in one another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def with_texts(value: Any, change: Callable[[str], object]) -> Any:
    """A copy in which every text is what ``change`` makes of it; keys stay.

    Args:
        value: a plain value, a mapping or a list of such.
        change: text → what stands in its place.
    """
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {key: with_texts(child, change) for key, child in value.items()}
    if isinstance(value, list):
        return [with_texts(child, change) for child in value]
    return value
