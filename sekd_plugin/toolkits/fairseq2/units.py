"""What training and validation do with a batch, and what they report of it."""

from __future__ import annotations

import json
from collections.abc import MutableMapping
from pathlib import Path
from typing import cast

from fairseq2.evaluator import EvalUnit
from fairseq2.metrics import MetricBag, Sum
from fairseq2.trainer import TrainUnit
from torch import Tensor
from typing_extensions import override

from sekd_plugin.new_file import replace_file
from sekd_plugin.toolkits.fairseq2.batch_form import Batch
from sekd_plugin.toolkits.fairseq2.distillation import Distillation
from sekd_plugin.toolkits.fairseq2.faults.counts import FaultCounts
from sekd_plugin.toolkits.fairseq2.faults.overflows import Overflows
from sekd_plugin.toolkits.fairseq2.faults.skipped_list import (
    SkippedList,
    warn_of,
    without_targets_of,
)
from sekd_plugin.toolkits.fairseq2.metrics.criterion_metrics import (
    add_criterion_metrics,
    finish_metric_values,
    update_criterion_metrics,
)
from sekd_plugin.toolkits.fairseq2.metrics.criterion_state import CriterionState
from sekd_plugin.toolkits.fairseq2.metrics.spread import Histogram


class DistillationTrainUnit(TrainUnit[Batch]):
    """Trains on batches, and closes the criterion's step before the next one begins."""

    def __init__(
        self,
        distillation: Distillation,
        counts: FaultCounts | None = None,
        skipped: SkippedList | None = None,
    ) -> None:
        """What is trained, and where its faults are put down.

        Args:
            distillation: the loss.
            counts: what the run has counted; saved and resumed with the criterion's state.
            skipped: takes the sentences that are left out; needed if any may be.
        """
        self._distillation = distillation
        self._criterion = distillation.criterion
        self._counts = counts or FaultCounts()
        self._skipped = skipped
        self._overflows = Overflows(self._counts)

    @override
    def prepare_metric_bag(self, metric_bag: MetricBag) -> None:
        add_criterion_metrics(metric_bag)
        metric_bag.add("criterion", CriterionState(self._criterion, self._counts))

    @property
    def sentences(self) -> str:
        """Files and lines of the step's sentences on this rank, in words."""
        return self._overflows.where()

    @override
    def set_step_nr(self, step_nr: int) -> None:
        """Close the step before ``step_nr``; a repeated step (fp16 overflow) starts afresh."""
        self._distillation.step_nr = step_nr
        self._overflows.begin_step(step_nr)
        if self._skipped is not None:
            self._skipped.begin_step(step_nr)
        if self._criterion.num_steps < step_nr - 1:
            self._criterion.step()
        else:
            self._criterion.discard_step()

    @override
    def process_batch(self, batch: Batch, metric_bag: MetricBag) -> tuple[Tensor, int | None]:
        self._criterion.train()
        self._overflows.add(batch)
        loss, output = self._distillation(batch)
        num_targets = output.num_targets
        if self._distillation.sound is not None and self._skipped is not None:
            skipped = self._distillation.sound.take()
            num_targets = self._skipped.account(batch, skipped, num_targets)
            batch = without_targets_of(batch, skipped, self._distillation.batches)
        update_criterion_metrics(metric_bag, batch, self._criterion, output)
        return loss, num_targets

    @override
    def process_metric_values(self, values: MutableMapping[str, object]) -> None:
        finish_metric_values(values, self._distillation.step_nr)
        if self._skipped is not None:
            values["total_num_skipped"] = self._counts.num_skipped
        if self._counts.num_overflows > 0:
            values["total_num_overflows"] = self._counts.num_overflows


class DistillationEvalUnit(EvalUnit[Batch]):
    """Measures the same on validation batches, and leaves the criterion's state alone.

    The histogram of difficulties is kept as ``difficulty/step_N.json`` in the run's folder.
    """

    def __init__(self, distillation: Distillation, output_folder: Path) -> None:
        self._distillation = distillation
        self._criterion = distillation.criterion
        self._folder = output_folder / "difficulty"
        self._step_nr = 0

    @override
    def prepare_metric_bag(self, metric_bag: MetricBag) -> None:
        add_criterion_metrics(metric_bag)
        metric_bag.add("difficulty_histogram", Histogram())
        if self._distillation.sound is not None:
            metric_bag.add("num_skipped", Sum())

    @override
    def set_train_step_nr(self, step_nr: int) -> None:
        self._step_nr = step_nr

    @override
    def process_batch(self, batch: Batch, metric_bag: MetricBag) -> None:
        self._criterion.eval()
        _, output = self._distillation(batch)
        if self._distillation.sound is not None:
            skipped = self._distillation.sound.take()
            metric_bag.get("num_skipped", Sum).update(len(skipped))
            warn_of(batch, skipped, "in validation")
            batch = without_targets_of(batch, skipped, self._distillation.batches)
        update_criterion_metrics(metric_bag, batch, self._criterion, output)
        metric_bag.get("difficulty_histogram", Histogram).update(output.difficulty)

    @override
    def process_metric_values(self, values: MutableMapping[str, object]) -> None:
        counts = cast(Tensor, values.pop("difficulty_histogram")).tolist()
        finish_metric_values(values, self._step_nr)
        record = {"step": self._step_nr, "edges": Histogram.edges, "counts": counts}
        replace_file(self._folder / f"step_{self._step_nr}.json", json.dumps(record) + "\n")
