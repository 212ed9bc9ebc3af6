"""Ranks that are threads of one process: many batches can be tried where processes are slow."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar
from unittest import mock

from torch import Tensor

from sekd_plugin import base_criterion

Result = TypeVar("Result")


@dataclass
class Meeting:
    """Where threads bring together what each of them has."""

    number: int
    """How many threads there are."""

    gatherings: list[int] = field(init=False)
    """How often each of them has come."""

    def __post_init__(self) -> None:
        self.gatherings = [0] * self.number
        self._brought: list[Tensor | None] = [None] * self.number
        self._barrier = threading.Barrier(self.number, timeout=20)

    def exchange(self, own: int, values: Tensor) -> list[Tensor]:
        """Give one's own, and take everybody's."""
        self.gatherings[own] += 1
        self._brought[own] = values.clone()
        self._barrier.wait()
        everybodys = [brought.clone() for brought in self._brought if brought is not None]
        self._barrier.wait()
        return everybodys


@dataclass(frozen=True)
class ThreadRanks:
    """What :class:`sekd_plugin.ranks.Ranks` is, for one of the threads."""

    meeting: Meeting
    own: int

    @property
    def number(self) -> int:
        """How many threads there are."""
        return self.meeting.number

    def gather(self, values: Tensor) -> list[Tensor]:
        """Every thread's values."""
        return self.meeting.exchange(self.own, values)


def on_threads(
    number: int, work: Callable[[ThreadRanks], Result]
) -> tuple[list[Result], list[int]]:
    """Each thread's result of ``work``, and how often each gathered.

    A criterion works on its thread's rank when its ``process_group`` is what ``work`` is given.
    """
    meeting = Meeting(number)
    with (
        mock.patch.object(base_criterion, "Ranks", lambda group: group),
        ThreadPoolExecutor(number) as pool,
    ):
        futures = [pool.submit(work, ThreadRanks(meeting, own)) for own in range(number)]
        results = [future.result(timeout=60) for future in futures]
    return results, meeting.gatherings
