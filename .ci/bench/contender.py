"""One way to compute a loss and its gradient."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench.problem import Problem

Work = Callable[[], None]
"""Forward and backward; it leaves the gradients in the problem's leaves."""


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A loss under test."""

    name: str
    """For tables and ``--only``."""

    job: str
    """What it is given: ``logits`` or ``linear``."""

    group: str
    """``ours``, ``dense``, ``plain``, ``peer``, or ``bound``: work that no loss can do without."""

    computes: str | None
    """Its objective, a key of ``OBJECTIVES``; None for a bound, which computes no loss."""

    mean: bool = False
    """Whether it is the mean over tokens; else it is the sum."""

    compiles: bool = False
    """Whether its first run at a size compiles code."""

    devices: tuple[str, ...] = ("cpu", "cuda")
    """Where it runs."""

    prepare: Callable[[Problem], Work]
    """Sets it up; an exception says why it can't be measured."""


def clear_gradients(problem: Problem) -> None:
    """Forget what a contender left behind."""
    for leaf in problem.leaves:
        leaf.grad = None
