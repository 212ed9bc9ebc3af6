"""What differs between the settings that something was made with and those of now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class _NotSet:
    def __repr__(self) -> str:
        return "not set"


_NOT_SET = _NotSet()
"""None may be a setting; its default may be another."""


def changed_setting(
    before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = ""
) -> str | None:
    """The first setting that differs, as ``key was X, is now Y``; None where nothing does."""
    for key in sorted({*before, *now}):
        old, new = before.get(key, _NOT_SET), now.get(key, _NOT_SET)
        if old == new:
            continue
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            return changed_setting(old, new, f"{prefix}{key}.")
        return f"{prefix}{key} was {old!r}, is now {new!r}"
    return None
