"""One training and one validation batch: student, teacher and criterion brought together."""

from __future__ import annotations

import json
from collections.abc import MutableMapping, Sequence
from pathlib import Path
from typing import cast

import torch
from fairseq2.evaluator import EvalUnit
from fairseq2.gang import Gangs
from fairseq2.metrics import MetricBag, Sum
from fairseq2.trainer import TrainUnit
from torch import Tensor
from torch.nn import Module
from typing_extensions import override

from sekd_plugin.base_criterion import Criterion
from sekd_plugin.kernels.row_kernel import TeacherRows
from sekd_plugin.new_file import replace_file
from sekd_plugin.output import CriterionOutput, NonFiniteLogitsError
from sekd_plugin.rows import TargetRows
from sekd_plugin.toolkits.fairseq2.batch_form import Batch, BatchForm
from sekd_plugin.toolkits.fairseq2.faults.counts import FaultCounts
from sekd_plugin.toolkits.fairseq2.faults.overflows import Overflows
from sekd_plugin.toolkits.fairseq2.faults.places import in_words, places_of
from sekd_plugin.toolkits.fairseq2.faults.skipped_list import (
    SkippedList,
    warn_of,
    without_targets_of,
)
from sekd_plugin.toolkits.fairseq2.faults.sound_sentences import (
    FaultsOn,
    LossOn,
    SoundSentences,
    TeacherFaults,
)
from sekd_plugin.toolkits.fairseq2.metrics import (
    CriterionState,
    Histogram,
    NonFiniteStepError,
    add_criterion_metrics,
    finish_metric_values,
    update_criterion_metrics,
)
from sekd_plugin.toolkits.fairseq2.projection import (
    OutputProjection,
    in_autocast,
    output_projection,
)
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
        *,
        skips: bool = False,
    ) -> None:
        """Bring the three together.

        Args:
            student: the model as wrapped for data parallelism.
            teacher: run or read for each batch; None where the criterion needs none.
            criterion: the loss.
            batches: how student and teacher read a batch.
            skips: whether sentences are left out on which the teacher is not finite.
        """
        self._student = student
        self._teacher = teacher
        self.batches = batches
        self.criterion = criterion
        self.sound = SoundSentences(criterion) if skips else None
        self.step_nr = 0

    def __call__(self, batch: Batch) -> tuple[Tensor, CriterionOutput]:
        """The loss, a sum over target tokens, and all else that the criterion saw.

        Raises:
            NonFiniteStepError: logits or a loss are not finite; it names step, files and lines.
        """
        input_batch, target_batch = batch.as_auto_regressive()
        inputs = self.batches.inputs(input_batch)
        targets, mask = target_batch.seqs, target_batch.target_mask
        if mask is None:
            mask = torch.ones_like(targets, dtype=torch.bool)
        rows = TargetRows.of(targets, mask)
        teacher = None
        if self._teacher is not None:
            teacher = self._teacher.read(batch, inputs, rows)
        outputs: list[CriterionOutput] = []

        def loss_of_states(states: Tensor, final_proj: Module) -> Tensor:
            projection = output_projection(final_proj)
            if projection is None or self.criterion.kernel == "reference":
                theirs = None if teacher is None else teacher.logits(rows)
                loss_on, faults = self._from_logits(states, final_proj, theirs, mask)
            else:
                arguments = TeacherArguments()
                if teacher is not None:
                    arguments = teacher.for_states(projection.group)
                loss_on, faults = self._from_states(states, projection, arguments, targets)

            def named(some: Tensor, kept: TargetRows) -> CriterionOutput:
                try:
                    return loss_on(some, kept)
                except NonFiniteLogitsError as error:
                    problem = f"the {error.model}'s logits are not finite"
                    raise self._stopped(problem, error.rows, batch, kept) from None

            if self.sound is None or teacher is None:
                output, learnt = named(mask, rows), rows
            else:
                output, learnt = self.sound.compute(named, mask, targets, faults(rows))
            infinite = (~torch.isfinite(output.token_loss)).nonzero().squeeze(-1)
            if infinite.numel() > 0:
                # Its gradient is no number, and one such step would end the student.
                problem = "the divergence of the student from the target is infinite"
                raise self._stopped(problem, infinite.tolist(), batch, learnt)
            outputs.append(output)
            return output.loss

        loss = self._student(*inputs, loss_of_states=loss_of_states)
        return loss, outputs[-1]

    def _from_logits(
        self, states: Tensor, final_proj: Module, teacher: TeacherRows, mask: Tensor
    ) -> tuple[LossOn, FaultsOn]:
        """The loss by way of all logits of the target tokens, and the teacher's faults there."""

        def loss_on(some: Tensor, kept: TargetRows) -> CriterionOutput:
            theirs = teacher
            if theirs is not None and some is not mask:
                theirs = theirs[some[mask]]
            logits = final_proj(kept.take(states, "the student's output"))
            with torch.autocast(states.device.type, enabled=False):
                return self.criterion.forward_rows(kept, logits, theirs)

        def faults(rows: TargetRows) -> TeacherFaults:
            assert teacher is not None
            return TeacherFaults.of_words(teacher)

        return loss_on, faults

    def _from_states(
        self,
        states: Tensor,
        projection: OutputProjection,
        teacher: TeacherArguments,
        targets: Tensor,
    ) -> tuple[LossOn, FaultsOn]:
        """The loss from hidden states, and the faults of what is given of the teacher."""
        states = in_autocast(states)

        def loss_on(some: Tensor, kept: TargetRows) -> CriterionOutput:
            with torch.autocast(states.device.type, enabled=False):
                return self.criterion.forward_linear(
                    states,
                    projection.weight,
                    targets=targets,
                    mask=some,
                    student_bias=projection.bias,
                    vocabulary_group=projection.group,
                    **teacher,
                )

        return loss_on, lambda rows: TeacherFaults.of_arguments(teacher).take(rows)

    def _stopped(
        self, problem: str, places: Sequence[int], batch: Batch, rows: TargetRows
    ) -> NonFiniteStepError:
        """The error that names step, files and lines of the target rows ``places``."""
        examples = places_of(batch)
        sentences = sorted({int(rows.sentences[row]) for row in places})
        beyond = "" if self.sound is None else " (the model is broken: that cannot be skipped)"
        return NonFiniteStepError(
            f"step {self.step_nr}: {problem} on {len(places)} of {rows.num_targets} target tokens, "
            f"in {in_words(examples[sentence] for sentence in sentences)}{beyond}"
        )


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


def share_steps_over(criterion: Criterion, gangs: Gangs) -> None:
    """Have the criterion gather a step's difficulties over the data-parallel ranks alone."""
    if gangs.dp.size > 1:
        criterion.process_group = gangs.dp.as_process_group()
    else:
        criterion.gather_over_ranks = False
