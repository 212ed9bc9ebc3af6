"""Logits of a corpus's sentences that are no distribution, told by file and line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from sekd_plugin.distributions import undefined_rows
from sekd_plugin.errors import DataError


def check_finite(
    model: str, logits: Tensor, sentences: Tensor, places: Sequence[tuple[Path, int]]
) -> None:
    """Check a chunk of rows.

    Args:
        model: whose they are, for the error.
        logits: ``[r, V]``.
        sentences: ``[r]``, which sentence of the batch each row stands in.
        places: file and line of each sentence of the batch.

    Raises:
        DataError: a row is no distribution; the first one's sentence is named.
    """
    broken = undefined_rows(logits)
    if bool(broken.any()):
        file, line = places[int(sentences[broken.nonzero()[0, 0]])]
        raise DataError(file, f"the {model}'s logits are not finite on this sentence", line)
