"""What a step reports: the same names on the console, in JSONL and in TensorBoard."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any, ClassVar, Self, cast

import torch
from fairseq2.datasets import SequenceBatch
from fairseq2.metrics import MetricBag
from fairseq2.metrics.common import add_seq_batch_metrics, update_seq_batch_metrics
from fairseq2.metrics.formatters import format_as_float, format_as_int
from fairseq2.metrics.recorders import MetricDescriptor
from fairseq2.runtime.dependency import DependencyContainer
from torch import Tensor
from torcheval.metrics import Metric
from typing_extensions import override

from sekd_plugin.base_criterion import Criterion
from sekd_plugin.errors import SekdError
from sekd_plugin.output import CriterionOutput
from sekd_plugin.thresholds import FixedThreshold, Threshold
from sekd_plugin.toolkits.fairseq2.batch_form import Batch
from sekd_plugin.toolkits.fairseq2.faults.counts import FaultCounts

PERCENTILES = (50, 90, 99)

DESCRIPTORS = (
    MetricDescriptor("loss", "Loss", 90, format_as_float),
    MetricDescriptor("cross_entropy", "Cross-Entropy", 91, format_as_float),
    MetricDescriptor("difficulty", "Difficulty", 92, format_as_float),
    MetricDescriptor("difficulty_p50", "Difficulty p50", 93, format_as_float),
    MetricDescriptor("difficulty_p90", "Difficulty p90", 94, format_as_float),
    MetricDescriptor("difficulty_p99", "Difficulty p99", 95, format_as_float),
    MetricDescriptor("gamma", "Gamma", 96, format_as_float),
    MetricDescriptor("beta", "Beta", 97, format_as_float),
    MetricDescriptor("hard_ratio", "Hard Ratio", 98, format_as_float),
    MetricDescriptor("loss_hard", "Loss of Hard Tokens", 99, format_as_float),
    MetricDescriptor("loss_easy", "Loss of Easy Tokens", 100, format_as_float),
    MetricDescriptor("agreement", "Teacher Agreement", 101, format_as_float, higher_better=True),
    MetricDescriptor("num_skipped", "Number of Skipped Sentences", 802, format_as_int),
    MetricDescriptor("total_num_skipped", "Total Number of Skipped Sentences", 860, format_as_int),
    MetricDescriptor("total_num_overflows", "Total Number of Overflows", 861, format_as_int),
    MetricDescriptor("elements_per_second", "Tokens per Second", 810, format_as_int),
)


def register_descriptors(container: DependencyContainer) -> None:
    """Give every metric of ours its shown name."""
    for descriptor in DESCRIPTORS:
        container.collection.register_instance(MetricDescriptor, descriptor)


class NonFiniteStepError(SekdError):
    """Training met numbers that are not finite."""

    exit_code: ClassVar[int] = 3


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


class CriterionState(Metric[None]):
    """Carries the criterion's state and the run's counts of faults in the checkpoint.

    fairseq2 saves metrics, not units.

    It has nothing to report and never resets. A rolled-back fp16 step replaces metrics by
    copies; a copy of this one carries the same criterion. When metrics are gathered over ranks to
    be reported, it has nothing to send.
    """

    def __init__(
        self,
        criterion: Criterion,
        counts: FaultCounts | None = None,
        *,
        device: torch.device | None = None,
    ) -> None:
        super().__init__(device=device)
        self._criterion = criterion
        self._counts = counts or FaultCounts()
        self._is_gathered = False

    @override
    def update(self, *_: Any, **__: Any) -> Self:
        return self

    @override
    def compute(self) -> None:
        return None

    @override
    def merge_state(self, metrics: Iterable[Self]) -> Self:
        return self

    @override
    def reset(self) -> Self:
        return self

    @override
    def _prepare_for_merge_state(self) -> None:
        self._is_gathered = True  # torcheval takes the state of every metric next

    @override
    def state_dict(self) -> dict[str, Any]:
        """The state as two tensors, numbers in JSON; next to nothing where it is gathered."""
        if self._is_gathered:
            self._is_gathered = False
            return {"numbers": torch.zeros((), device=self.device)}
        state = self._criterion.get_extra_state()
        observed = state.pop("observed")
        state["faults"] = dataclasses.asdict(self._counts)
        return {
            "numbers": torch.tensor(list(json.dumps(state).encode()), dtype=torch.uint8),
            "observed": observed.cpu(),
        }

    @override
    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> None:
        state = json.loads(bytes(state_dict["numbers"].tolist()))
        state["observed"] = state_dict["observed"]
        # Checkpoints of earlier versions counted no faults.
        for name, count in state.pop("faults", {}).items():
            setattr(self._counts, name, count)
        self._criterion.set_extra_state(state)

    def __deepcopy__(self, memo: dict[int, Any]) -> CriterionState:
        return CriterionState(self._criterion, self._counts, device=self.device)


_MEANS = (
    "loss",
    "cross_entropy",
    "difficulty",
    "hard_ratio",
    "loss_hard",
    "loss_easy",
    "agreement",
)

_MUST_BE_FINITE = ("loss", "loss_hard", "loss_easy", "grad_norm")

_ABSENT_UNLESS_FINITE = {*_MEANS, "gamma", "beta"} | {f"difficulty_p{p}" for p in PERCENTILES}


def add_criterion_metrics(bag: MetricBag) -> None:
    """Put the metrics of a criterion into ``bag``."""
    for name in _MEANS:
        bag.add(name, WeightedMean())
    bag.add("difficulty_percentiles", Quantiles())
    bag.add("gamma", Latest())
    bag.add("implied_gamma", WeightedMean())
    bag.add("beta", Latest())
    add_seq_batch_metrics(bag)


@torch.inference_mode()
def update_criterion_metrics(
    bag: MetricBag, batch: Batch, criterion: Criterion, output: CriterionOutput
) -> None:
    """Account for one micro-batch: every mean is a sum over target tokens and a count."""
    n, hard = output.num_targets, output.hard
    num_hard = hard.sum()
    sums: dict[str, tuple[Tensor, Tensor | int]] = {
        "loss": (output.token_loss.double().sum(), n),
        "cross_entropy": (output.cross_entropy.double().sum(), n),
        "difficulty": (output.difficulty.double().sum(), n),
        "hard_ratio": (num_hard, n),
        "loss_hard": (output.token_loss[hard].double().sum(), num_hard),
        "loss_easy": (output.token_loss[~hard].double().sum(), n - num_hard),
    }
    if output.agreement is not None:
        sums["agreement"] = (output.agreement.sum(), n)
    for name, (total, weight) in sums.items():
        bag.get(name, WeightedMean).update(total, weight)
    bag.get("difficulty_percentiles", Quantiles).update(output.difficulty)
    if not criterion.threshold.needs_batch:
        bag.get("gamma", Latest).update(output.gamma)
    elif math.isfinite(output.gamma):
        bag.get("implied_gamma", WeightedMean).update(output.gamma * n, n)
    beta = getattr(criterion, "beta", None)
    if beta is not None and _can_be_hard(criterion.threshold):
        bag.get("beta", Latest).update(beta)
    # A batch of pairs has the same counts, of source and target together.
    update_seq_batch_metrics(bag, cast(SequenceBatch, batch))


def _can_be_hard(threshold: Threshold) -> bool:
    return not isinstance(threshold, FixedThreshold) or math.isfinite(threshold.gamma)


def finish_metric_values(values: MutableMapping[str, object], step_nr: int) -> None:
    """Name the percentiles, and leave out what was not measured rather than report a zero.

    Γ is infinite while every token is easy, and so may a difficulty be; JSON knows no infinity,
    so they are left out as well.

    Raises:
        NonFiniteStepError: a loss or the gradient's norm is not finite.
    """
    for name in _MUST_BE_FINITE:
        value = values.get(name)
        if value is not None and not math.isfinite(float(cast("float", value))):
            raise NonFiniteStepError(
                f"step {step_nr}: the reported {name} is {float(cast('float', value))}, which is "
                "not finite; training cannot go on from here"
            )
    implied = values.pop("implied_gamma")
    if implied is not None:
        values["gamma"] = implied
    percentiles = values.pop("difficulty_percentiles")
    if isinstance(percentiles, Tensor):
        for percentile, value in zip(PERCENTILES, percentiles.tolist(), strict=True):
            values[f"difficulty_p{percentile}"] = value
    values.pop("criterion", None)
    for name, value in list(values.items()):
        if name in _ABSENT_UNLESS_FINITE and (
            value is None or not math.isfinite(float(cast("float", value)))
        ):
            del values[name]
