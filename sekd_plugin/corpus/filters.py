"""Which sentence pairs are fit for training, and why the others are not."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from sekd_plugin.corpus.clean import comparison_key, text_hash
from sekd_plugin.corpus.settings import PreparationSettings


class Reason(StrEnum):
    """Why a pair was left out."""

    EMPTY = "empty side"
    TOO_SHORT = "too short"
    TOO_LONG = "too long"
    RATIO = "lengths too different"
    COPY = "source equals target"
    IN_TEST = "source is in test"
    IN_VALID = "source is in valid"
    DUPLICATE = "duplicate pair"


def unfit(source: str, target: str, settings: PreparationSettings) -> Reason | None:
    """Why the cleaned pair is unfit for training by itself, or None."""
    if not source or not target:
        return Reason.EMPTY
    words = (len(source.split()), len(target.split()))
    characters = (len(source), len(target))
    if min(words) < settings.min_words:
        return Reason.TOO_SHORT
    if max(words) > settings.max_words or max(characters) > settings.max_characters:
        return Reason.TOO_LONG
    if max(characters) > settings.max_ratio * min(characters):
        return Reason.RATIO
    if settings.drop_copies and comparison_key(source) == comparison_key(target):
        return Reason.COPY
    return None


class Duplicates:
    """Remembers each pair by a hash, so that millions need little memory."""

    def __init__(self) -> None:
        self._seen: set[int] = set()

    def is_new(self, source: str, target: str) -> bool:
        """Whether exactly this pair comes for the first time."""
        number = text_hash(source, target)
        if number in self._seen:
            return False
        self._seen.add(number)
        return True


def source_number(source: str) -> int:
    """The hash that tells whether two sources count as the same sentence."""
    return text_hash(comparison_key(source))


Withheld = Mapping[int, Reason]
"""Sources that training must not see, by :func:`source_number`, and where they belong."""
