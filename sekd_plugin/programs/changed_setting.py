"""What differs between the settings that something was made with and those of now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def changed_setting(
    before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = ""
) -> str | None:
    """The first setting that differs, as ``key was X, is now Y``; None where nothing does."""
    for key in sorted({*before, *now}):
        old, new = before.get(key), now.get(key)
        if old == new:
            continue
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            return changed_setting(old, new, f"{prefix}{key}.")
        return f"{prefix}{key} was {old!r}, is now {new!r}"
    return None
