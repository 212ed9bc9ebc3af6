"""A Γ that follows training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from sekd_plugin.checks import between
from sekd_plugin.errors import ConfigError
from sekd_plugin.thresholds.base import KnownGamma, register_threshold


@register_threshold("dynamic")
class DynamicThreshold(KnownGamma):
    """Γ follows training: a moving average of a statistic of the finished steps' difficulties.

    Formula:
        Γ ← s after the first finished step, then Γ ← momentum·Γ + (1 − momentum)·s,
        with s the mean or a quantile of the step's finite difficulties; hard ⇔ d > Γ

    Use it when difficulties shrink during training and a fixed Γ would run dry. Γ is known
    before a batch, so the loss is the same however a global batch is cut into micro-batches and
    ranks. Until one step is finished every token is easy.

    Args:
        statistic: ``mean`` or ``quantile``.
        quantile: which quantile, strictly between 0 and 1; only with ``statistic: quantile``,
            where it is needed. 0.7 makes about 30 % of the tokens hard.
        momentum: the share of the old Γ that a step keeps, in [0, 1).
    """

    def __init__(
        self,
        statistic: Literal["mean", "quantile"] = "mean",
        quantile: float | None = None,
        momentum: float = 0.9,
    ) -> None:
        if statistic not in ("mean", "quantile"):
            raise ConfigError(
                "statistic", f"'{statistic}' is not allowed; it must be 'mean' or 'quantile'"
            )
        if statistic == "mean" and quantile is not None:
            raise ConfigError("quantile", "is only for statistic: quantile; here it is mean")
        if statistic == "quantile":
            if quantile is None:
                raise ConfigError("quantile", "is missing; statistic: quantile needs a number")
            between("quantile", quantile, 0.0, 1.0, open_low=True, open_high=True)
        self.statistic = statistic
        self.quantile = quantile
        self.momentum = between("momentum", momentum, 0.0, 1.0, open_high=True)
        self._gamma: float | None = None

    @property
    def gamma(self) -> float:
        """Γ from the finished steps; infinity before the first."""
        return math.inf if self._gamma is None else self._gamma

    def step(self, difficulty: Tensor) -> None:
        """Move Γ by the statistic of a finished step; a step without targets leaves it."""
        finite = difficulty[torch.isfinite(difficulty)].double()
        if finite.numel() == 0:
            return
        if self.quantile is None:
            value = float(finite.mean())
        else:
            value = sorted_quantile(finite, self.quantile)
        if self._gamma is None:
            self._gamma = value
        else:
            self._gamma = self.momentum * self._gamma + (1.0 - self.momentum) * value

    def state_dict(self) -> dict[str, float | int | None]:
        """Γ, or None before the first finished step."""
        return {"gamma": self._gamma}

    def load_state_dict(self, state: Mapping[str, float | int | None]) -> None:
        """Take Γ back."""
        self._gamma = state["gamma"]


def sorted_quantile(values: Tensor, quantile: float) -> float:
    """The quantile of values sorted upwards, linear between the two nearest.

    Args:
        values: ``[N]``, N ≥ 1, of any length (``torch.quantile`` stops at 16 million).
        quantile: in [0, 1].
    """
    place = quantile * (values.numel() - 1)
    below = math.floor(place)
    above = min(below + 1, values.numel() - 1)
    return float(torch.lerp(values[below], values[above], place - below))
