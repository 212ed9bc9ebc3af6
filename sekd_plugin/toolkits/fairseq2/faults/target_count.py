"""A number of target tokens that fairseq2 sums over ranks also where it is zero."""

from __future__ import annotations

from typing import Any

from typing_extensions import override


class TargetCount(int):
    """How many target tokens a rank had in a batch, where some rank had some in the step.

    fairseq2 asks each rank whether it had any, ``num_targets > 0``, before it brings the numbers of
    all ranks together. A rank whose sentences were all left out would not take part, and the others
    would wait for it for ever.
    """

    @override
    def __add__(self, other: Any) -> TargetCount:
        return TargetCount(int(self) + int(other))

    @override
    def __radd__(self, other: Any) -> TargetCount:
        return TargetCount(int(other) + int(self))

    @override
    def __gt__(self, other: Any) -> bool:
        return bool(other == 0) or int(self) > other
