"""Estimates of the time left, from what was seen so far."""

from __future__ import annotations

from dataclasses import dataclass, field

_PRIOR_SECONDS = 60.0


@dataclass
class StageClock:
    """The time left of the running stage, from its own pace."""

    expected: float
    """Seconds it should take, by the settings and the pace of the stages before."""

    started: float
    """When it began, in seconds."""

    _first: tuple[float, int] | None = field(default=None, init=False)

    def left(self, now: float, done: int, total: int) -> float:
        """Seconds left when ``done`` of ``total`` is behind.

        The pace is counted from the first sign of progress, so that starting up, or what an
        earlier sitting had done, is not taken for speed.
        """
        if self._first is None and done > 0:
            self._first = (now, done)
        if self._first is not None:
            since, before = self._first
            if done > before and now > since:
                return (total - done) * (now - since) / (done - before)
        share = 1.0 - done / total if total else 1.0
        return max(self.expected * share - (now - self.started) * (done == 0), 0.0)


def pace(expected: list[float], measured: list[float]) -> float:
    """How many times longer than expected the stages to come will take, by the finished ones.

    A stage of a few seconds says little of those that take minutes, so a minute that went as
    expected is counted in.
    """
    return (sum(measured) + _PRIOR_SECONDS) / (sum(expected) + _PRIOR_SECONDS)
