"""What every way to make token ids of a sentence pair has in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


def asked_by_default(of_files: Sequence[str | None], of_all: str | None) -> str | None:
    """The prompt, or a language, that a model translates with unless it is told another.

    Args:
        of_files: what each training file says; None is a file that takes ``of_all``.
        of_all: what the dataset says.

    Returns:
        ``of_all`` where a file takes it, or else what all files say; None where they differ.
    """
    if None in of_files or not of_files:
        return of_all
    return of_files[0] if len(set(of_files)) == 1 else None


class PairEncoding(Protocol):
    """How a sentence pair becomes the ids that a model reads and learns."""

    @property
    def text(self) -> str:
        """What tells it from another, in words: a template, or two languages."""
        ...

    @property
    def source_name(self) -> str:
        """What the ids of a source are called: ``prompt``, or ``source``."""
        ...

    @property
    def prefix(self) -> tuple[int, ...]:
        """What a decoder is given before each target; never learnt."""
        ...

    def encode_source(self, source: str) -> list[int]:
        """What is read of a source."""
        ...

    def encode_target(self, target: str) -> list[int]:
        """What is learnt of a target, its end included."""
        ...

    def sequences(self, source: list[int], target: list[int]) -> dict[str, int]:
        """The sequences that a model reads of an encoded pair, and how many tokens each has.

        A key is subject and verb of what is said of a sequence, as ``the source is``. The last
        token of a target is only predicted, never read.
        """
        ...
