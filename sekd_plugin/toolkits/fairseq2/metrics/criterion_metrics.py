"""What a step reports of its criterion."""

from __future__ import annotations

import math
from collections.abc import MutableMapping
from typing import cast

import torch
from fairseq2.datasets import SequenceBatch
from fairseq2.metrics import MetricBag
from fairseq2.metrics.common import add_seq_batch_metrics, update_seq_batch_metrics
from torch import Tensor

from sekd_plugin.base_criterion import Criterion
from sekd_plugin.output import CriterionOutput
from sekd_plugin.thresholds import FixedThreshold, Threshold
from sekd_plugin.toolkits.fairseq2.batch_form import Batch
from sekd_plugin.toolkits.fairseq2.faults.non_finite_step import NonFiniteStepError
from sekd_plugin.toolkits.fairseq2.metrics.means import Latest, WeightedMean
from sekd_plugin.toolkits.fairseq2.metrics.spread import PERCENTILES, Quantiles

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
