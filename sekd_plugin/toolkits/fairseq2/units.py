"""One training and one validation batch: student, teacher and criterion brought together."""

from __future__ import annotations

import json
from collections.abc import MutableMapping, Sequence
from pathlib import Path
from typing import cast

import torch
from fairseq2.evaluator import EvalUnit
from fairseq2.gang import Gangs
from fairseq2.metrics import MetricBag
from fairseq2.trainer import TrainUnit
from torch import Tensor
from torch.nn import Module
from typing_extensions import override

from sekd_plugin.base_criterion import Criterion
from sekd_plugin.new_file import replace_file
from sekd_plugin.output import CriterionOutput, NonFiniteLogitsError
from sekd_plugin.rows import TargetRows
from sekd_plugin.toolkits.fairseq2.batch_form import Batch, BatchForm
from sekd_plugin.toolkits.fairseq2.metrics import (
    CriterionState,
    Histogram,
    NonFiniteStepError,
    add_criterion_metrics,
    finish_metric_values,
    update_criterion_metrics,
)
from sekd_plugin.toolkits.fairseq2.projection import in_autocast, output_projection
from sekd_plugin.toolkits.fairseq2.prompted_batches import PROMPTED_BATCHES
from sekd_plugin.toolkits.fairseq2.teacher import Teacher, TeacherArguments


class Distillation:
    """The loss of a batch: the student's forward ends in the criterion, the teacher runs before."""

    def __init__(
        self,
        student: Module,
        teacher: Teacher | None,
        criterion: Criterion,
        batches: BatchForm = PROMPTED_BATCHES,
    ) -> None:
        """Bring the three together.

        Args:
            student: the model as wrapped for data parallelism.
            teacher: run or read for each batch; None where the criterion needs none.
            criterion: the loss.
            batches: how student and teacher read a batch.
        """
        self._student = student
        self._teacher = teacher
        self._batches = batches
        self.criterion = criterion
        self.step_nr = 0

    def __call__(self, batch: Batch) -> tuple[Tensor, CriterionOutput]:
        """The loss, a sum over target tokens, and all else that the criterion saw.

        Raises:
            NonFiniteStepError: logits or a loss are not finite; it names step, files and lines.
        """
        input_batch, target_batch = batch.as_auto_regressive()
        inputs = self._batches.inputs(input_batch)
        rows = TargetRows.of(target_batch.seqs, target_batch.target_mask)
        teacher = None
        if self._teacher is not None:
            teacher = self._teacher.read(batch, inputs, rows)
        outputs: list[CriterionOutput] = []

        def loss_of_states(states: Tensor, final_proj: Module) -> Tensor:
            projection = output_projection(final_proj)
            if projection is None or self.criterion.kernel == "reference":
                logits = final_proj(rows.take(states, "the student's output"))
                theirs = None if teacher is None else teacher.logits(rows)
                with torch.autocast(states.device.type, enabled=False):
                    output = self.criterion.forward_rows(rows, logits, theirs)
            else:
                group = projection.group
                arguments = TeacherArguments()
                if teacher is not None:
                    arguments = teacher.for_states(group)
                states = in_autocast(states)
                with torch.autocast(states.device.type, enabled=False):
                    output = self.criterion.forward_linear(
                        states,
                        projection.weight,
                        targets=target_batch.seqs,
                        mask=target_batch.target_mask,
                        student_bias=projection.bias,
                        vocabulary_group=group,
                        **arguments,
                    )
            outputs.append(output)
            return output.loss

        try:
            loss = self._student(*inputs, loss_of_states=loss_of_states)
        except NonFiniteLogitsError as error:
            problem = f"the {error.model}'s logits are not finite on"
            raise self._stopped(problem, error.rows, batch, rows) from None
        output = outputs[-1]
        infinite = (~torch.isfinite(output.token_loss)).nonzero().squeeze(-1)
        if infinite.numel() > 0:
            # Its gradient is no number, and one such step would end the student.
            problem = "the divergence of the student from the target is infinite on"
            raise self._stopped(problem, infinite.tolist(), batch, rows)
        return loss, output

    def _stopped(
        self, problem: str, places: Sequence[int], batch: Batch, rows: TargetRows
    ) -> NonFiniteStepError:
        """The error that names step, files and lines of the target rows ``places``."""
        examples = cast(Sequence[tuple[Path, int]], batch.example)
        lines: dict[Path, list[str]] = {}
        for sentence in sorted({int(rows.sentences[row]) for row in places}):
            file, line = examples[sentence]
            lines.setdefault(file, []).append(str(line))
        where = "; ".join(f"{file}, line {', '.join(found)}" for file, found in lines.items())
        return NonFiniteStepError(
            f"step {self.step_nr}: {problem} {len(places)} of {rows.num_targets} target tokens, "
            f"in {where}"
        )


class DistillationTrainUnit(TrainUnit[Batch]):
    """Trains on batches, and closes the criterion's step before the next one begins."""

    def __init__(self, distillation: Distillation) -> None:
        self._distillation = distillation
        self._criterion = distillation.criterion

    @override
    def prepare_metric_bag(self, metric_bag: MetricBag) -> None:
        add_criterion_metrics(metric_bag)
        metric_bag.add("criterion", CriterionState(self._criterion))

    @override
    def set_step_nr(self, step_nr: int) -> None:
        """Close the step before ``step_nr``; a repeated step (fp16 overflow) starts afresh."""
        self._distillation.step_nr = step_nr
        if self._criterion.num_steps < step_nr - 1:
            self._criterion.step()
        else:
            self._criterion.discard_step()

    @override
    def process_batch(self, batch: Batch, metric_bag: MetricBag) -> tuple[Tensor, int | None]:
        self._criterion.train()
        loss, output = self._distillation(batch)
        update_criterion_metrics(metric_bag, batch, self._criterion, output)
        return loss, output.num_targets

    @override
    def process_metric_values(self, values: MutableMapping[str, object]) -> None:
        finish_metric_values(values, self._distillation.step_nr)


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

    @override
    def set_train_step_nr(self, step_nr: int) -> None:
        self._step_nr = step_nr

    @override
    def process_batch(self, batch: Batch, metric_bag: MetricBag) -> None:
        self._criterion.eval()
        _, output = self._distillation(batch)
        update_criterion_metrics(metric_bag, batch, self._criterion, output)
        metric_bag.get("difficulty_histogram", Histogram).update(output.difficulty)

    @override
    def process_metric_values(self, values: MutableMapping[str, object]) -> None:
        counts = cast(Tensor, values.pop("difficulty_histogram")).tolist()
        finish_metric_values(values, self._step_nr)
        record = {"step": self._step_nr, "edges": Histogram.edges, "counts": counts}
        replace_file(self._folder / f"step_{self._step_nr}.json", json.dumps(record) + "\n")


def share_steps_over(criterion: Criterion, gangs: Gangs) -> None:
    """Have the criterion gather a step's difficulties over the data-parallel ranks alone."""
    if gangs.dp.size > 1:
        criterion.process_group = gangs.dp.as_process_group()
    else:
        criterion.gather_over_ranks = False
