"""A fixed random sample of sentences, drawn in one pass over a stream of any length."""

from __future__ import annotations

import heapq


class HoldoutSample:
    """The ``size`` distinct items with the smallest random ranks.

    The rank belongs to the item and not to its place, so the sample does not depend on the
    order of the stream, and a growing corpus keeps most of its sample. Memory is O(``size``).
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._heap: list[tuple[int, int]] = []
        self._members: set[int] = set()

    def offer(self, item: int, rank: int) -> None:
        """Let ``item`` into the sample if its ``rank`` is small enough."""
        if item in self._members or self._size == 0:
            return
        if len(self._heap) < self._size:
            heapq.heappush(self._heap, (-rank, item))
        elif -rank > self._heap[0][0]:
            _, expelled = heapq.heapreplace(self._heap, (-rank, item))
            self._members.remove(expelled)
        else:
            return
        self._members.add(item)

    def chosen(self) -> list[int]:
        """The sample, smallest rank first."""
        return [item for _, item in sorted(self._heap, reverse=True)]
