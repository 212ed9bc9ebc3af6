"""Single numbers, gathered over micro-batches, steps and ranks."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Self

import torch
from torch import Tensor
from torcheval.metrics import Metric
from typing_extensions import override


class WeightedMean(Metric[Tensor | None]):
    """Σ w·x / Σ w over micro-batches, steps and ranks, in float64; None where Σ w is zero."""

    def __init__(self, *, device: torch.device | None = None) -> None:
        super().__init__(device=device)
        self.total: Tensor
        self.weight: Tensor
        self._add_state("total", torch.zeros((), dtype=torch.float64, device=device))
        self._add_state("weight", torch.zeros((), dtype=torch.float64, device=device))

    @override
    @torch.inference_mode()
    def update(self, total: Tensor | float, weight: Tensor | float) -> Self:
        """Add a sum of values and what it weighs."""
        self.total = self.total + torch.as_tensor(total, dtype=torch.float64, device=self.device)
        self.weight = self.weight + torch.as_tensor(weight, dtype=torch.float64, device=self.device)
        return self

    @override
    @torch.inference_mode()
    def compute(self) -> Tensor | None:
        """The mean, or None where nothing was measured."""
        return self.total / self.weight if bool(self.weight > 0.0) else None

    @override
    @torch.inference_mode()
    def merge_state(self, metrics: Iterable[Self]) -> Self:
        """Add the other ranks' sums."""
        for metric in metrics:
            self.update(metric.total.to(self.device), metric.weight.to(self.device))
        return self


class Latest(Metric[Tensor | None]):
    """The value of the latest update; over ranks, the mean of theirs; None without one."""

    def __init__(self, *, device: torch.device | None = None) -> None:
        super().__init__(device=device)
        self.value: Tensor
        self._add_state("value", torch.full((), math.nan, dtype=torch.float64, device=device))

    @override
    @torch.inference_mode()
    def update(self, value: float) -> Self:
        """Take a value."""
        self.value = torch.full_like(self.value, value)
        return self

    @override
    @torch.inference_mode()
    def compute(self) -> Tensor | None:
        """The value, or None where there was none."""
        return None if bool(self.value.isnan()) else self.value

    @override
    @torch.inference_mode()
    def merge_state(self, metrics: Iterable[Self]) -> Self:
        """Take the mean with the other ranks' values."""
        values = torch.stack([self.value, *(metric.value.to(self.device) for metric in metrics)])
        self.value = values.nanmean()
        return self
