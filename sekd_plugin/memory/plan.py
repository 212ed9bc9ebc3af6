"""The plan: bytes of each part at each moment of a training step, on the fullest device."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from sekd_plugin.memory.activations import Activations
from sekd_plugin.memory.activations_of import activations_of
from sekd_plugin.memory.loss import LossMemory, OutputSide
from sekd_plugin.memory.numbers import student_numbers, teacher_numbers
from sekd_plugin.memory.optimizer import state_bytes, step_bytes
from sekd_plugin.memory.settings import PlannedModel, PlanSettings
from sekd_plugin.memory.sharding import StudentWeights

WEIGHTS = "student weights"
COPIES = "gathered or cast"
GRADIENTS = "gradients"
REDUCTION = "gradients in exchange"
OPTIMIZER = "optimizer"
TEACHER = "teacher weights"
ACTIVATIONS = "activations, student"
TEACHER_ACTIVATIONS = "activations, teacher"
LOSS = "loss"

PARTS = (
    WEIGHTS,
    COPIES,
    GRADIENTS,
    REDUCTION,
    OPTIMIZER,
    TEACHER,
    ACTIVATIONS,
    TEACHER_ACTIVATIONS,
    LOSS,
)
"""What memory is used for, in the order it is shown."""


@dataclass(frozen=True)
class Moment:
    """What is in memory at one moment."""

    name: str
    """Which moment."""

    parts: dict[str, int]
    """Bytes of each of :data:`PARTS`; 0 where it is not mentioned."""

    @property
    def total(self) -> int:
        """All parts together, in bytes."""
        return sum(self.parts.values())


@dataclass(frozen=True, kw_only=True)
class MemoryPlan:
    """A plan for the fullest device."""

    settings: PlanSettings
    """What it follows from."""

    moments: tuple[Moment, ...]
    """The moments of a run, in the order they come."""

    dense_loss: int
    """What the loss would take over all logits at once, in bytes."""

    @property
    def peak(self) -> Moment:
        """The moment at which most is needed."""
        return max(self.moments, key=lambda moment: moment.total)

    def fits(self, device_bytes: int, reserve_bytes: int) -> bool:
        """Whether a device of that size holds it, with a reserve for what is not planned."""
        return self.peak.total + reserve_bytes <= device_bytes


def make_plan(settings: PlanSettings) -> MemoryPlan:
    """Compute the plan.

    Raises:
        ConfigError: the models cannot be divided as the cluster asks.
    """
    return _Planner(settings).plan()


class _Planner:
    def __init__(self, settings: PlanSettings) -> None:
        self._settings = settings
        self._cluster = settings.cluster
        self._weights = StudentWeights(settings.student, settings.precision, settings.cluster)
        numbers = student_numbers(settings.student, settings.precision)
        self._student = activations_of(
            settings.student.shape, numbers, settings.batch, settings.cluster
        )
        self._teacher = None
        if settings.teacher is not None:
            numbers = teacher_numbers(settings.teacher, settings.precision)
            self._teacher = activations_of(
                settings.teacher.shape, numbers, settings.batch, settings.cluster
            )
        self._loss = LossMemory(
            plan=settings.loss,
            tokens=settings.batch.tokens,
            student=self._output_side(
                settings.student, self._student, settings.precision.compute_bytes
            ),
            teacher=None
            if settings.teacher is None or self._teacher is None
            else self._output_side(settings.teacher, self._teacher, settings.teacher.weight_bytes),
            on_gpu=settings.cluster.on_gpu,
            scaled=settings.precision.scaled_loss,
        )

    def plan(self) -> MemoryPlan:
        moments = [self._start()]
        if self._teacher is not None:
            moments.append(self._teacher_forward())
        moments += [self._in_loss(), self._backward()]
        if self._student.after_last_stack() is not None:
            moments.append(self._after_decoder())
        moments += [self._end_of_backward(), self._step()]
        if self._settings.validates:
            moments.append(self._validation())
        return MemoryPlan(
            settings=self._settings, moments=tuple(moments), dense_loss=self._loss.dense()
        )

    def _output_side(
        self, model: PlannedModel, activations: Activations, sharded_weight_bytes: int
    ) -> OutputSide:
        words, width = model.shape.output.on_rank(self._cluster.tensor_parallel)
        numbers = activations.numbers
        # On a GPU the loss is given hidden states as autocast would give them to a product.
        states = numbers.inside if numbers.autocast and self._cluster.on_gpu else numbers.between
        return OutputSide(
            words=words,
            width=width,
            state_bytes=states,
            weight_bytes=sharded_weight_bytes if self._weights.sharded else model.weight_bytes,
        )

    def _kept_state(self) -> dict[str, int]:
        """What is there from the first step to the last."""
        student = self._settings.student
        parts = {
            WEIGHTS: student.weight_bytes * self._weights.own + self._weights.buffer_bytes(),
            OPTIMIZER: state_bytes(self._settings.optimizer, student, self._cluster),
            REDUCTION: self._weights.bucket_bytes(),
        }
        if self._settings.teacher is not None:
            parts[TEACHER] = self._teacher_bytes(self._settings.teacher)
        return parts

    def _teacher_bytes(self, teacher: PlannedModel) -> int:
        numbers = sum(
            prod(weight.on_rank(self._cluster.tensor_parallel))
            for weight in teacher.shape.weights()
        )
        return teacher.weight_bytes * numbers + teacher.shape.table_bytes

    def _gradients(self) -> int:
        return self._settings.student.weight_bytes * self._weights.own

    def _first_gradients(self) -> int:
        """Those there are when the last layer is done."""
        return self._settings.student.weight_bytes * self._weights.own_of_last_layer

    def _earlier_gradients(self) -> int:
        """Those of earlier batches of the same step."""
        batch = self._settings.batch
        if not batch.accumulates:
            return 0
        if batch.unreduced and self._weights.sharded:
            return self._settings.precision.reduce_bytes * self._weights.whole
        return self._gradients()

    def _start(self) -> Moment:
        """The first rank loads the student whole before it is sharded."""
        student = self._settings.student
        whole = student.weight_bytes * self._weights.whole + self._weights.buffer_bytes()
        return Moment("start", {WEIGHTS: whole})

    def _teacher_forward(self) -> Moment:
        assert self._teacher is not None
        parts = self._kept_state()
        parts[GRADIENTS] = self._earlier_gradients()
        parts[TEACHER_ACTIVATIONS] = self._teacher.without_gradients()
        return Moment("teacher", parts)

    def _in_loss(self) -> Moment:
        parts = self._kept_state()
        parts[COPIES] = self._weights.gathered_in_loss() + self._weights.cast_copies()
        parts[GRADIENTS] = self._earlier_gradients()
        parts[ACTIVATIONS] = self._student.kept() + self._student.output()
        if self._teacher is not None:
            parts[TEACHER_ACTIVATIONS] = self._teacher.output()
        parts[LOSS] = self._loss.while_computing()
        return Moment("loss", parts)

    def _backward(self) -> Moment:
        """The last layer's gradients: all activations are there, and hardly any gradients.

        From layer to layer activations go and gradients come, so that most is needed here or at
        the end.
        """
        parts = self._kept_state()
        parts[COPIES] = self._weights.gathered_in_backward()
        parts[COPIES] += self._weights.cast_copies(self._layers_again)
        parts[GRADIENTS] = max(self._first_gradients(), self._earlier_gradients())
        parts[GRADIENTS] += self._weights.tied_in_sum(0)
        parts[REDUCTION] += self._weights.reduced_in_backward()
        parts[ACTIVATIONS] = self._student.kept() + self._student.in_last_layer()
        parts[LOSS] = self._loss.handed_on()
        return Moment("backward", parts)

    def _after_decoder(self) -> Moment:
        """The decoder's gradients are there, and all of the encoder's activations.

        The part of a tied table that comes from reading the targets is formed and added.
        """
        parts = self._kept_state()
        parts[COPIES] = self._weights.gathered_in_backward()
        parts[COPIES] += self._weights.cast_copies(self._layers_again)
        parts[GRADIENTS] = max(
            self._settings.student.weight_bytes * self._weights.own_of_last_stack,
            self._earlier_gradients(),
        )
        parts[GRADIENTS] += self._weights.tied_in_sum(2)
        parts[REDUCTION] += self._weights.reduced_in_backward()
        parts[ACTIVATIONS] = self._student.after_last_stack() or 0
        parts[LOSS] = self._loss.handed_on()
        return Moment("decoder done", parts)

    def _end_of_backward(self) -> Moment:
        """The first layer's gradients, or where they are sharded those outside of the layers.

        A tied table's are summed from those of the projection and of each stack that reads it.
        """
        parts = self._kept_state()
        parts[COPIES] = self._weights.gathered_at_end()
        parts[GRADIENTS] = max(self._gradients(), self._earlier_gradients())
        parts[REDUCTION] += self._weights.reduced_at_end()
        stacks = len(self._settings.student.shape.stacks)
        ends = [(self._weights.tied_in_sum(stacks), self._student.first_input())]
        if not self._weights.sharded:
            # The sum is added to the gradient of earlier batches, and is not yet the gradient.
            added = 1 if self._settings.batch.accumulates else 0
            ends = [
                (self._weights.tied_in_sum(stacks + added), self._student.first_input()),
                (self._weights.tied_in_sum(stacks - 1), self._student.in_first_layer()),
            ]
        tied, parts[ACTIVATIONS] = max(ends, key=sum)
        parts[GRADIENTS] += tied
        parts[LOSS] = self._loss.handed_on()
        return Moment("last gradients", parts)

    def _step(self) -> Moment:
        parts = self._kept_state()
        parts[GRADIENTS] = self._gradients()
        parts[OPTIMIZER] += step_bytes(
            self._settings.optimizer, self._settings.student, self._cluster
        )
        return Moment("step", parts)

    def _validation(self) -> Moment:
        parts = self._kept_state()
        parts[COPIES] = self._weights.gathered_in_validation()
        parts[ACTIVATIONS] = self._student.without_gradients()
        if self._teacher is not None:
            parts[TEACHER_ACTIVATIONS] = self._teacher.output()
        parts[LOSS] = self._loss.while_computing(with_gradient=False)
        return Moment("validation", parts)

    @property
    def _layers_again(self) -> frozenset[int]:
        """The layers that are computed again in the backward pass."""
        return self._settings.student.shape.layers_again(self._settings.batch.checkpoint_every)
