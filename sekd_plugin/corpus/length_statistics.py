"""Mean, median, 95th percentile and maximum of lengths, in memory that does not grow with data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING

from sekd_plugin.corpus.sentence_pair import SentencePair

if TYPE_CHECKING:
    from sentencepiece import SentencePieceProcessor

_ENCODED_AT_ONCE = 1000


def length_summary(counts: Counter[int]) -> dict[str, float]:
    """Statistics of lengths given as length → how many have it.

    The median is the mean of the two middle ones for an even number; the 95th percentile is
    the smallest length that at least 95 % do not exceed. All are 0 where there is nothing.
    """
    total = counts.total()
    if total == 0:
        return {"mean": 0.0, "median": 0.0, "p95": 0.0, "max": 0.0}
    middle = _ranked(counts, ((total - 1) // 2, total // 2))
    return {
        "mean": round(sum(length * number for length, number in counts.items()) / total, 2),
        "median": sum(middle) / 2,
        "p95": float(_ranked(counts, [-(-95 * total // 100) - 1])[0]),
        "max": float(max(counts)),
    }


def _ranked(counts: Counter[int], ranks: Iterable[int]) -> list[int]:
    """The lengths that stand at ``ranks``, ascending from 0, if all lengths are sorted."""
    found: list[int] = []
    below = 0
    wanted = list(ranks)
    for length in sorted(counts):
        below += counts[length]
        while len(found) < len(wanted) and wanted[len(found)] < below:
            found.append(length)
    return found


def measure_lengths(
    pairs: Iterable[SentencePair], processor: SentencePieceProcessor
) -> dict[str, dict[str, dict[str, float]]]:
    """Side → ``words`` or ``pieces`` → :func:`length_summary`."""
    words = {"source": Counter[int](), "target": Counter[int]()}
    pieces = {"source": Counter[int](), "target": Counter[int]()}
    pairs = iter(pairs)
    while batch := list(islice(pairs, _ENCODED_AT_ONCE)):
        for side in words:
            texts = [getattr(pair, side) for pair in batch]
            words[side].update(len(text.split()) for text in texts)
            pieces[side].update(len(ids) for ids in processor.encode(texts))
    return {
        side: {"words": length_summary(words[side]), "pieces": length_summary(pieces[side])}
        for side in words
    }
