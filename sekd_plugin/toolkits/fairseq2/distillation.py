"""The loss of one batch: student, teacher and criterion brought together."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from fairseq2.gang import Gangs
from torch import Tensor
from torch.nn import Module

from sekd_plugin.base_criterion import Criterion
from sekd_plugin.kernels.row_kernel import TeacherRows
from sekd_plugin.output import CriterionOutput, NonFiniteLogitsError
from sekd_plugin.rows import TargetRows
from sekd_plugin.toolkits.fairseq2.batch_form import Batch, BatchForm
from sekd_plugin.toolkits.fairseq2.faults.non_finite_step import NonFiniteStepError
from sekd_plugin.toolkits.fairseq2.faults.places import in_words, places_of
from sekd_plugin.toolkits.fairseq2.faults.sound_sentences import (
    FaultsOn,
    LossOn,
    SoundSentences,
    TeacherFaults,
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


def share_steps_over(criterion: Criterion, gangs: Gangs) -> None:
    """Have the criterion gather a step's difficulties over the data-parallel ranks alone."""
    if gangs.dp.size > 1:
        criterion.process_group = gangs.dp.as_process_group()
    else:
        criterion.gather_over_ranks = False
