"""A Γ steered so that a wanted share of the tokens is hard."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from sekd_plugin.checks import between
from sekd_plugin.schedules import Schedulable, constant_or_schedule
from sekd_plugin.thresholds.base import KnownGamma, register_threshold

# How fast a lasting miss is made up for: in about 1 / gain steps. Much faster, and it would chase
# the luck of single steps, which is most of what a step of few tokens shows.
_GAIN = 0.1
_FEW_TOKENS = 100
# A great miss is a jump, which the next steps mend by themselves; and one that Γ cannot mend, as
# among equal difficulties, must not pile up. So neither a miss nor their sum counts for more.
_MOST = 0.1


@register_threshold("target_ratio")
class TargetRatioThreshold(KnownGamma):
    """Γ is steered so that the hard share of the tokens follows a set ratio or its schedule.

    Formula:
        after a step in which the share h was hard, Γ moves along that step's own quantiles to
        the share m·h + (1 − m)·(r + c) + (r' − r), with m = ``momentum``, r and r' the ratio of
        this step and the next, and c the sum of the misses r − h so far, times
        0.1·n / (n + 100) for a step of n tokens, each miss and c being at most 0.1 in size;
        hard ⇔ d > Γ

    Use it when the share of hard tokens is what you want to set, and Γ must be known before a
    batch, so that the loss does not depend on how a global batch is cut. It only looks at the
    order of difficulties, so it follows them at any scale. Until one step is finished every
    token is easy. A ratio of 0 or 1 is met exactly; where many tokens are equally difficult the
    ratio may be out of reach.

    Args:
        ratio: r in [0, 1]; a number, or a schedule ``{start, end, num_steps, shape}``.
        momentum: m in [0, 1): higher is calmer when steps are small, lower is quicker when
            difficulties change.
    """

    def __init__(
        self, ratio: Schedulable | Mapping[str, object] = 0.3, momentum: float = 0.5
    ) -> None:
        self._ratio = constant_or_schedule("ratio", ratio, 0.0, 1.0)
        self.momentum = between("momentum", momentum, 0.0, 1.0, open_high=True)
        self._num_steps = 0
        self._gamma: float | None = None
        self._trim = 0.0

    @property
    def ratio(self) -> float:
        """The share of hard tokens that is wanted now."""
        return self._ratio(self._num_steps)

    @property
    def gamma(self) -> float:
        """Γ from the finished steps: infinity before the first; −infinity for a ratio of 1."""
        if self._gamma is None or self.ratio == 0.0:
            return math.inf
        return -math.inf if self.ratio == 1.0 else self._gamma

    def step(self, difficulty: Tensor) -> None:
        """Move Γ by a finished step; one without targets moves the schedule alone."""
        before, gamma = self.ratio, self.gamma
        hard = int(self.decide(difficulty).sum())
        self._num_steps += 1
        values = _finite(difficulty)
        if values is None:
            return
        if math.isinf(gamma):  # this step was not steered, and says nothing of the steering
            self._gamma = _value_at(values, None, 0, self.ratio + self._trim)
            return
        observed = hard / values.numel()
        weight = values.numel() / (values.numel() + _FEW_TOKENS)
        self._trim = _within(self._trim + _GAIN * weight * _within(before - observed))
        share = self.momentum * observed + (1.0 - self.momentum) * (before + self._trim)
        self._gamma = _value_at(values, gamma, hard, share + self.ratio - before)

    def state_dict(self) -> dict[str, float | int | None]:
        """Γ, the finished steps and the sum of misses."""
        return {"gamma": self._gamma, "num_steps": self._num_steps, "trim": self._trim}

    def load_state_dict(self, state: Mapping[str, float | int | None]) -> None:
        """Take them back."""
        self._gamma = state["gamma"]
        self._num_steps = int(state["num_steps"] or 0)
        self._trim = float(state["trim"] or 0.0)


def _within(miss: float) -> float:
    return min(max(miss, -_MOST), _MOST)


def _finite(difficulty: Tensor) -> Tensor | None:
    """The difficulties with infinite ones at the greatest finite; None if there is none."""
    finite = torch.isfinite(difficulty)
    if not bool(finite.any()):
        return None
    return difficulty.clamp(max=float(difficulty[finite].max()))


def _value_at(values: Tensor, gamma: float | None, hard: int, share: float) -> float:
    """The value with ``share`` of ``values`` above it, by the lines between them and Γ.

    Value i of N has (N − i − ½) / N of them above it, and Γ the share that it made hard. With Γ
    among the points a small move of the share is a small move of Γ, however few values there are.

    Args:
        values: ``[N]`` sorted upwards, N ≥ 1, finite.
        gamma: Γ, or None where it does not take part.
        hard: how many of the values are above Γ.
        share: outside [0, 1] it is taken as the nearer end.
    """
    count = values.numel()
    place = (1.0 - min(max(share, 0.0), 1.0)) * count  # value i lies at the place i + ½
    below, above = math.floor(place - 0.5), math.ceil(place - 0.5)
    low = (below + 0.5, float(values[below])) if below >= 0 else None
    high = (above + 0.5, float(values[above])) if above < count else None
    if gamma is not None:
        own = float(count - hard)
        if own <= place and (low is None or low[0] <= own):
            low = (own, gamma)
        if own >= place and (high is None or own <= high[0]):
            high = (own, gamma)
    if low is None or high is None:
        end = high if low is None else low
        assert end is not None  # values is not empty
        return end[1]
    if high[0] == low[0]:
        return low[1]
    part = (place - low[0]) / (high[0] - low[0])
    return low[1] + part * (high[1] - low[1])
