"""Names that tell things apart and are no longer than they must be."""

from __future__ import annotations

from collections.abc import Sequence


def shortest_endings(names: Sequence[Sequence[str]]) -> list[tuple[str, ...]]:
    """The endings, of equally many parts, that tell names apart: the shortest there are.

    Args:
        names: each as its parts, ``("criterion", "config", "beta")``; a name that stands there
            twice has the same ending twice.

    Returns:
        The ending of each, at least one part.
    """
    different = len({tuple(name) for name in names})
    for length in range(1, max(map(len, names), default=0) + 1):
        endings = [tuple(name[-length:]) for name in names]
        if len(set(endings)) == different:
            return endings
    return [tuple(name) for name in names]
