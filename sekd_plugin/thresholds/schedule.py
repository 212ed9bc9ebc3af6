"""The adaptive schedule: Γ, or the hard ratio, on a set course."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from torch import Tensor

from sekd_plugin.checks import between
from sekd_plugin.errors import ConfigError
from sekd_plugin.schedules import Schedule
from sekd_plugin.thresholds.base import Threshold, register_threshold
from sekd_plugin.thresholds.top_k import hardest, share_of


@register_threshold("schedule")
class ScheduleThreshold(Threshold):
    """Γ, or the share of hard tokens, moves from ``start`` to ``end`` over ``num_steps``.

    Formula:
        quantity gamma: hard ⇔ d > Γ(step); quantity ratio: the ⌊r(step)·n + ½⌋ hardest tokens of
        the batch are hard. Shapes as in :class:`sekd_plugin.schedules.Schedule`

    Use it to begin with few hard tokens, while the student is weak, and end with more, or the
    other way round. A ratio needs the whole batch first and counts per micro-batch.

    Args:
        start: Γ ≥ 0, or a ratio in [0, 1], at the first step.
        end: the same from step ``num_steps`` on.
        num_steps: optimizer steps, 1 or more.
        shape: ``linear``, ``cosine``, ``exponential`` or ``step``.
        quantity: what moves, ``gamma`` or ``ratio``.
    """

    observes = False

    def __init__(
        self,
        start: float,
        end: float,
        num_steps: int,
        shape: str = "linear",
        quantity: Literal["gamma", "ratio"] = "gamma",
    ) -> None:
        if quantity not in ("gamma", "ratio"):
            raise ConfigError(
                "quantity", f"'{quantity}' is not allowed; it must be 'gamma' or 'ratio'"
            )
        highest = 1.0 if quantity == "ratio" else float("inf")
        between("start", start, 0.0, highest)
        between("end", end, 0.0, highest)
        self.schedule = Schedule(start, end, num_steps, shape)
        self.quantity = quantity
        self.needs_batch = quantity == "ratio"
        self._num_steps = 0

    @property
    def gamma(self) -> float | None:
        """Γ at this step, or None where the ratio is what moves."""
        return None if self.needs_batch else self.schedule(self._num_steps)

    def decide(self, difficulty: Tensor) -> Tensor:
        """Mark the tokens above Γ, or the scheduled share of the hardest."""
        value = self.schedule(self._num_steps)
        if self.needs_batch:
            return hardest(difficulty, share_of(difficulty.numel(), value))
        return difficulty > value

    def step(self, difficulty: Tensor) -> None:
        """Move one step along the schedule."""
        self._num_steps += 1

    def state_dict(self) -> dict[str, float | int | None]:
        """The number of finished steps."""
        return {"num_steps": self._num_steps}

    def load_state_dict(self, state: Mapping[str, float | int | None]) -> None:
        """Take the number of finished steps back."""
        self._num_steps = int(state["num_steps"] or 0)
