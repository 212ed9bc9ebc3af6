"""How values are spread, over micro-batches and ranks."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Self

import torch
from torch import Tensor
from torcheval.metrics import Metric
from typing_extensions import override

PERCENTILES = (50, 90, 99)


class Quantiles(Metric[Tensor]):
    """Exact percentiles of all values since the last report, over micro-batches and ranks."""

    def __init__(self, *, device: torch.device | None = None) -> None:
        super().__init__(device=device)
        self.values: list[Tensor]
        self._add_state("values", [])

    @override
    @torch.inference_mode()
    def update(self, values: Tensor) -> Self:
        """Take values ``[n]``."""
        self.values.append(values.detach().to(self.device, torch.float32, copy=True))
        return self

    @override
    @torch.inference_mode()
    def compute(self) -> Tensor:
        """One number for each of :data:`PERCENTILES`; NaN without values."""
        pool = torch.cat(self.values) if self.values else torch.zeros(0)
        if pool.numel() == 0:
            return torch.full((len(PERCENTILES),), math.nan)
        ordered = pool.sort().values.double()
        places = torch.tensor(PERCENTILES, dtype=torch.float64) / 100.0 * (ordered.numel() - 1)
        below = places.floor().long()
        above = (below + 1).clamp(max=ordered.numel() - 1)
        ordered = ordered.cpu()
        return torch.lerp(ordered[below], ordered[above], places - below)

    @override
    @torch.inference_mode()
    def merge_state(self, metrics: Iterable[Self]) -> Self:
        """Take the other ranks' values."""
        for metric in metrics:
            self.values.extend(values.to(self.device) for values in metric.values)
        return self

    @override
    def _prepare_for_merge_state(self) -> None:
        if self.values:
            self.values = [torch.cat(self.values)]


class Histogram(Metric[Tensor]):
    """How many values fall between the edges 0, 0.25, … 16, and how many above."""

    edges = tuple(place * 0.25 for place in range(65))

    def __init__(self, *, device: torch.device | None = None) -> None:
        super().__init__(device=device)
        self.counts: Tensor
        self._add_state("counts", torch.zeros(len(self.edges), dtype=torch.int64, device=device))

    @override
    @torch.inference_mode()
    def update(self, values: Tensor) -> Self:
        """Count values ``[n]``; those that rounding left below zero count as zero."""
        inner = torch.tensor(self.edges[1:], device=values.device)
        bins = torch.bucketize(values.detach().float(), inner, right=True)
        counts = torch.bincount(bins, minlength=len(self.edges))
        self.counts = self.counts + counts.to(self.counts.device)
        return self

    @override
    @torch.inference_mode()
    def compute(self) -> Tensor:
        """The counts, ``[65]``, the last one open upwards."""
        return self.counts

    @override
    @torch.inference_mode()
    def merge_state(self, metrics: Iterable[Self]) -> Self:
        """Add the other ranks' counts."""
        for metric in metrics:
            self.counts = self.counts + metric.counts.to(self.device)
        return self
