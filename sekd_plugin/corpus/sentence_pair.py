"""One sentence and its translation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class SentencePair:
    """A sentence, its translation, and where they were read, for messages about them."""

    source: str
    """The text to translate, as it stands in the file."""

    target: str
    """Its translation, as it stands in the file."""

    file: Path
    """The file it was read from; of two parallel files, the first one given."""

    line: int
    """The line in that file, counted from 1."""
