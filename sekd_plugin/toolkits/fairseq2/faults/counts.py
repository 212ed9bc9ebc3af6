"""How often a run has met numbers that are not finite."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(kw_only=True)
class FaultCounts:
    """What has been counted since a run began, interruptions included; the same on every rank."""

    num_skipped: int = 0
    """Sentences left out of training, over all ranks; one that comes again counts again."""

    num_overflows: int = 0
    """Steps that overflowed in fp16 and were done with the next sentences instead."""
