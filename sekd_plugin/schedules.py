"""A number that moves over training: β, Γ or a hard ratio."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from sekd_plugin.checks import at_least, between, one_of
from sekd_plugin.construction import construct
from sekd_plugin.errors import ConfigError


def _linear(start: float, end: float, progress: float) -> float:
    return start + (end - start) * progress


def _cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * progress))


def _exponential(start: float, end: float, progress: float) -> float:
    return float(start * (end / start) ** progress)


def _step(start: float, end: float, progress: float) -> float:
    return start if progress < 1.0 else end


SHAPES: dict[str, Callable[[float, float, float], float]] = {
    "linear": _linear,
    "cosine": _cosine,
    "exponential": _exponential,
    "step": _step,
}


class Schedule:
    """A value that goes from ``start`` to ``end`` in ``num_steps`` optimizer steps, then stays.

    With progress s = min(step / num_steps, 1):

    - ``linear``: start + (end − start)·s
    - ``cosine``: end + (start − end)·(1 + cos πs) / 2
    - ``exponential``: start·(end / start)^s, for two values above zero
    - ``step``: start while s < 1, then end

    Args:
        start: the value at step 0.
        end: the value from step ``num_steps`` on.
        num_steps: how many optimizer steps the way takes, 1 or more.
        shape: the name of the curve.

    Raises:
        ConfigError: a setting is out of its range.
    """

    def __init__(self, start: float, end: float, num_steps: int, shape: str = "linear") -> None:
        self.shape = one_of("shape", shape, SHAPES)
        self.num_steps = at_least("num_steps", num_steps, 1)
        for key, value in (("start", start), ("end", end)):
            if math.isnan(value) or (math.isinf(value) and shape != "step"):
                raise ConfigError(key, f"{value!r} is not a finite number")
            if shape == "exponential":
                between(key, value, 0.0, open_low=True)
        self.start = float(start)
        self.end = float(end)

    def __call__(self, step: int) -> float:
        """The value after ``step`` finished optimizer steps."""
        progress = min(step / self.num_steps, 1.0)
        if progress == 0.0 or progress == 1.0:
            return self.end if progress else self.start
        return SHAPES[self.shape](self.start, self.end, progress)

    def check_between(self, key: str, low: float, high: float) -> None:
        """Check that both ends, and so every value, lie in [low, high]."""
        for end, value in (("start", self.start), ("end", self.end)):
            try:
                between(end, value, low, high)
            except ConfigError as error:
                raise error.within(key) from None

    def __repr__(self) -> str:
        return f"Schedule({self.start}, {self.end}, {self.num_steps}, shape={self.shape!r})"


class Constant:
    """A value that never moves. A class, so that what holds one can be pickled."""

    def __init__(self, value: float) -> None:
        self.value = value

    def __call__(self, step: int) -> float:
        """The value."""
        return self.value

    def __repr__(self) -> str:
        return f"Constant({self.value})"


Schedulable = float | Schedule


def constant_or_schedule(
    key: str, value: Schedulable | Mapping[str, object], low: float, high: float
) -> Callable[[int], float]:
    """``value`` as a function of the finished steps, its range checked.

    A mapping holds a schedule's settings.

    Raises:
        ConfigError: the value, or an end of the schedule, is outside [low, high].
    """
    if isinstance(value, Mapping):
        try:
            value = construct(Schedule, value, f"the schedule of {key}")
        except ConfigError as error:
            raise error.within(key) from None
    if isinstance(value, Schedule):
        value.check_between(key, low, high)
        return value
    return Constant(between(key, value, low, high))
