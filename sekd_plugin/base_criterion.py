"""What every criterion shares: target rows, the decision, the statistics of a step, the state.

The method itself is in :mod:`sekd_plugin.criterion`: three small functions over rows, which this
class applies to a batch, whole or a chunk of rows at a time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn

from sekd_plugin.checks import one_of
from sekd_plugin.distributions import undefined_rows
from sekd_plugin.errors import ComponentError, ConfigError
from sekd_plugin.kernels.decision import BatchDecision, Decision, RanksDecision
from sekd_plugin.kernels.division import Division
from sekd_plugin.kernels.fused import (
    Batch,
    ChunkBytes,
    Rows,
    TeacherOf,
    losses_of_hidden,
    losses_of_logits,
)
from sekd_plugin.kernels.gathered import on_whole_rows
from sekd_plugin.kernels.projection import Projection
from sekd_plugin.kernels.row_kernel import (
    DefinitionRows,
    RowKernel,
    RowLosses,
    TeacherRows,
    define,
)
from sekd_plugin.kernels.sparse import SparseRows
from sekd_plugin.kernels.teacher_rows import (
    no_teacher,
    projected_teacher,
    ready_teacher,
    shared_words,
    target_rows,
)
from sekd_plugin.output import CriterionOutput, NonFiniteLogitsError
from sekd_plugin.ranks import Ranks
from sekd_plugin.registry import Registry
from sekd_plugin.rows import TargetRows
from sekd_plugin.teachers import SparseTeacher
from sekd_plugin.thresholds import FixedThreshold, Threshold

KERNELS = ("auto", "reference", "chunked", "triton")
"""Ways to compute a criterion: its definition by autograd over all rows at once; by chunks with the
gradient formed in the forward pass; or by chunks on a GPU with kernels of its own. ``auto`` is
``triton`` where that can be had, and else ``chunked``."""


class Criterion(nn.Module, ABC):
    """A loss over target tokens, with the interface of the method.

    A subclass says what the target is, how difficulty is measured and what each token costs.
    It has no parameters. Its statistics move only in training mode (``train()``), so validation
    leaves no trace.
    """

    needs_teacher: bool = True
    """Whether teacher logits must be given."""

    temperature: float = 1.0
    """T, which softens both distributions."""

    threshold: Threshold = FixedThreshold(gamma=float("inf"))
    """What decides which tokens are hard; by default none is."""

    process_group: dist.ProcessGroup | None = None
    """The ranks that share an optimizer step; None is every rank of ``torch.distributed``."""

    gather_over_ranks: bool = True
    """Whether anything is gathered over ranks at all; False where all of them see the same data,
    as under tensor parallelism alone."""

    chunk_bytes: ChunkBytes = ChunkBytes()
    """How much is worked on at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.num_steps = 0
        self._observed: list[Tensor] = []
        self._kernel = "auto"

    @property
    def kernel(self) -> str:
        """How the criterion is computed: one of :data:`KERNELS`."""
        return self._kernel

    @kernel.setter
    def kernel(self, name: str) -> None:
        self._kernel = one_of("kernel", name, KERNELS)

    # ── The method, which a subclass writes ──────────────────────────────────────────────────

    @abstractmethod
    def distributions(
        self, student_logits: Tensor, teacher_logits: Tensor | None, targets: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The target, a constant, and the student's log-probabilities, for rows ``[n, V]``.

        The two functions below take the pair as it is given here.
        """

    @abstractmethod
    def self_question(self, log_target: Tensor, log_student: Tensor) -> Tensor:
        """Each token's difficulty ``[n]``, without gradient."""

    @abstractmethod
    def self_evolution(self, log_target: Tensor, log_student: Tensor, hard: Tensor) -> Tensor:
        """Each token's loss ``[n]``, differentiable, given which tokens are hard."""

    def computed_by(self, quantity: Literal["difficulty", "loss"]) -> str:
        """The name of the class that computes it, for errors."""
        return type(self).__name__

    # ── Its application to a batch ───────────────────────────────────────────────────────────

    def forward(
        self,
        student_logits: Tensor,
        teacher_logits: TeacherRows,
        targets: Tensor,
        mask: Tensor | None = None,
    ) -> CriterionOutput:
        """The loss of a batch of logits.

        Args:
            student_logits: ``[..., V]``, any floating dtype.
            teacher_logits: ``[..., V']``, V' ≥ V (its first V words are used); or a
                :class:`~sekd_plugin.teachers.SparseTeacher`; or None where :attr:`needs_teacher`
                is false. No gradient flows into it.
            targets: ``[...]`` gold ids; anything where masked.
            mask: ``[...]`` bool, True on target tokens; None makes every position one.

        Raises:
            ValueError: shapes, dtypes, vocabularies or target ids that do not fit together.
            NonFiniteLogitsError: NaN or +inf in the logits of a target token.
        """
        rows = TargetRows.of(targets, mask)
        student = rows.take(student_logits, "student_logits")
        teacher = None
        if self.needs_teacher:
            teacher = target_rows(rows, teacher_logits, student.shape[-1])
        return self.forward_rows(rows, student, teacher)

    def forward_rows(
        self, rows: TargetRows, student_logits: Tensor, teacher_logits: TeacherRows
    ) -> CriterionOutput:
        """The same for rows selected already, so that no logits are formed for other positions.

        Args:
            rows: where the target tokens are.
            student_logits: ``[n, V]``, of the target tokens alone.
            teacher_logits: of them likewise, as in :meth:`forward`.
        """
        size = student_logits.shape[-1]
        rows.check_vocabulary(size)
        teacher = None
        if self.needs_teacher:
            teacher = shared_words(teacher_logits, size, self.temperature)

        def student_rows(chunk: Rows) -> Tensor:
            return student_logits.detach()[chunk]

        def teacher_rows(chunk: Rows) -> TeacherRows:
            return None if teacher is None else teacher[chunk]

        if self.kernel == "reference" and not isinstance(teacher, SparseTeacher):
            decision = self._decision(rows)
            found = define(self, student_logits, teacher, rows.targets, decision.whole)
            loss = found.token_loss.sum()
            return self._conclude(loss, found, decision, student_rows, teacher_rows)

        batch = self._batch(rows, teacher_rows, isinstance(teacher, SparseTeacher), None)
        loss, found = losses_of_logits(batch, student_logits)
        return self._conclude(loss, found, batch.decision, student_rows, teacher_rows)

    def forward_linear(
        self,
        student_hidden: Tensor,
        student_weight: Tensor,
        teacher_hidden: Tensor | None = None,
        teacher_weight: Tensor | None = None,
        targets: Tensor | None = None,
        mask: Tensor | None = None,
        *,
        teacher_logits: TeacherRows = None,
        student_bias: Tensor | None = None,
        teacher_bias: Tensor | None = None,
        student_logit_scale: float = 1.0,
        teacher_logit_scale: float = 1.0,
        student_soft_cap: float | None = None,
        teacher_soft_cap: float | None = None,
        vocabulary_group: dist.ProcessGroup | None = None,
    ) -> CriterionOutput:
        """The same loss from hidden states, without the logits of the batch.

        Logits are formed for a chunk of rows at a time, and so are the gradients, which the
        backward pass only hands on; those of weight and bias are summed in fp32. Where a threshold
        must see the whole batch first, rows are decided on by a guess, and done again if it was
        wrong. With ``kernel = "reference"`` all logits are formed at once.

        Where the words are divided among ranks (vocabulary or tensor parallelism), weights and
        biases are this rank's part, by rank in the order of the words, and every rank of
        ``vocabulary_group`` calls this with the same hidden states; the gradient by them is
        complete on each.

        Args:
            student_hidden: ``[..., D]``, what the output projection is applied to.
            student_weight: ``[V, D]``, the output projection; it may be frozen.
            teacher_hidden: ``[..., D']``.
            teacher_weight: ``[V', D']``, V' ≥ V.
            targets: ``[...]`` gold ids.
            mask: ``[...]`` bool, True on target tokens.
            teacher_logits: ``[..., V']`` or a :class:`~sekd_plugin.teachers.SparseTeacher`,
                instead of the teacher's hidden states and weight; never divided among ranks.
            student_bias: ``[V]``, if the projection has one.
            teacher_bias: ``[V']``, likewise.
            student_logit_scale: what the student's logits are multiplied by.
            teacher_logit_scale: what the teacher's are.
            student_soft_cap: c, where its logits z (scaled) are capped to c·tanh(z / c).
            teacher_soft_cap: likewise the teacher's.
            vocabulary_group: the ranks among which the words are divided; None: not at all.

        Raises:
            ValueError, NonFiniteLogitsError: as :meth:`forward`.
        """
        if targets is None:
            raise ValueError("targets are missing")
        rows = TargetRows.of(targets, mask)
        student = Projection(
            weight=student_weight,
            bias=student_bias,
            scale=student_logit_scale,
            soft_cap=student_soft_cap,
        )
        division = None
        if vocabulary_group is not None:
            division = Division.of(student.size, vocabulary_group, student_weight.device)
        size = student.size if division is None else division.total
        rows.check_vocabulary(size)
        states = rows.take(student_hidden, "student_hidden")

        if self.kernel == "reference" and division is not None:
            raise ValueError("kernel 'reference' needs all words on one rank; use 'auto'")

        if teacher_logits is not None and (
            teacher_hidden is not None or teacher_weight is not None
        ):
            raise ValueError("give teacher_logits or the teacher's hidden states, not both")
        sparse = self.needs_teacher and isinstance(teacher_logits, SparseTeacher)
        teacher: TeacherOf = no_teacher
        if self.needs_teacher and teacher_hidden is not None and teacher_weight is not None:
            projection = Projection(
                weight=teacher_weight,
                bias=teacher_bias,
                scale=teacher_logit_scale,
                soft_cap=teacher_soft_cap,
            )
            taken = rows.take(teacher_hidden.detach(), "teacher_hidden")
            teacher = projected_teacher(taken, projection, size, division)
        elif self.needs_teacher:
            given = target_rows(rows, teacher_logits, size)
            teacher = ready_teacher(shared_words(given, size, self.temperature), division)

        if self.kernel == "reference" and not sparse:
            return self.forward_rows(rows, student.logits(states), teacher(slice(None)))

        frozen = student.frozen()

        def student_rows(chunk: Rows) -> Tensor:
            logits = frozen.logits(states.detach()[chunk])
            return logits if division is None else division.gather(logits)

        def teacher_rows(chunk: Rows) -> TeacherRows:
            logits = teacher(chunk)
            if division is not None and isinstance(logits, Tensor):
                return division.gather(logits)
            return logits

        batch = self._batch(rows, teacher, sparse, division)
        loss, found = losses_of_hidden(batch, states, student, vocabulary_group)
        return self._conclude(loss, found, batch.decision, student_rows, teacher_rows)

    def row_kernel(self, device: torch.device, division: Division | None) -> RowKernel:
        """What computes a chunk of rows: the definition, unless something faster is known.

        Args:
            device: where the rows are.
            division: how their words are divided among ranks, if they are.

        Raises:
            ConfigError: ``kernel`` asks for what there is not.
        """
        if self.kernel == "triton":
            raise ConfigError("kernel", "'triton' has no kernels for this criterion; use 'auto'")
        return on_whole_rows(DefinitionRows(self), division)

    def _batch(
        self, rows: TargetRows, teacher: TeacherOf, sparse: bool, division: Division | None
    ) -> Batch:
        if sparse:
            kernel = on_whole_rows(SparseRows(self, self.temperature), division)
        else:
            kernel = self.row_kernel(rows.targets.device, division)
        return Batch(
            kernel=kernel,
            teacher=teacher,
            targets=rows.targets,
            decision=self._decision(rows),
            sizes=self.chunk_bytes,
        )

    def _decision(self, rows: TargetRows) -> Decision:
        if not self.threshold.needs_batch:
            return Decision(self._decide, rows.sentences)
        ranks = Ranks(self.process_group)
        if self.threshold.decides_over_ranks and self.gather_over_ranks and ranks.number > 1:
            return RanksDecision(self._decide, rows.sentences, ranks)
        return BatchDecision(self._decide, rows.sentences)

    def _decide(self, difficulty: Tensor, sentences: Tensor) -> Tensor:
        hard = self.threshold.decide_by_sentence(difficulty, sentences)
        if hard.shape != difficulty.shape or hard.dtype != torch.bool:
            raise ComponentError(
                f"{type(self.threshold).__name__}.decide",
                f"returned {hard.dtype} of the shape {tuple(hard.shape)}; it must be bool of the "
                f"shape {tuple(difficulty.shape)}",
            )
        return hard

    def _conclude(
        self,
        loss: Tensor,
        found: RowLosses,
        decision: Decision,
        student: Callable[[Rows], Tensor],
        teacher: TeacherOf,
    ) -> CriterionOutput:
        token_loss = found.token_loss.detach()
        self._check_finite(found.difficulty.isnan(), token_loss.isnan(), student, teacher)
        if self.training and self.threshold.observes:
            self._observed.append(found.difficulty)
        gamma = self.threshold.gamma
        if gamma is None:
            gamma = decision.implied_gamma(found.difficulty, found.hard)
        return CriterionOutput(
            loss=loss,
            num_targets=token_loss.numel(),
            difficulty=found.difficulty,
            hard=found.hard,
            gamma=gamma,
            token_loss=token_loss,
            cross_entropy=found.cross_entropy,
            agreement=found.agreement if self.needs_teacher else None,
        )

    def _check_finite(
        self,
        difficulty: Tensor,
        loss: Tensor,
        student: Callable[[Rows], Tensor],
        teacher: TeacherOf,
    ) -> None:
        undefined = difficulty | loss
        rows = undefined.nonzero().squeeze(-1)
        if rows.numel() == 0:
            return
        for name, found in (("student", student(rows)), ("teacher", teacher(rows))):
            logits = found.log_probabilities if isinstance(found, SparseTeacher) else found
            if logits is None:
                continue
            broken = undefined_rows(logits)
            if bool(broken.any()):
                raise NonFiniteLogitsError(name, rows[broken].tolist(), undefined.numel())
        component = self.computed_by("difficulty" if bool(difficulty.any()) else "loss")
        raise ComponentError(component, "returned NaN on finite logits")

    # ── Steps and state ──────────────────────────────────────────────────────────────────────

    @torch.no_grad()
    def step(self) -> None:
        """Close an optimizer step, once, after all of its micro-batches, on every rank.

        Γ moves by the difficulties of the step's target tokens, over all micro-batches and
        ranks; schedules move by one. The difficulties are sorted first, so that what a threshold
        computes from them does not depend on how the step was cut up, to the last bit.
        """
        values = self._observations()
        if self.gather_over_ranks and self.threshold.observes:
            values = torch.cat(Ranks(self.process_group).gather(values))
        self.threshold.step(values.sort().values.cpu())
        self._observed.clear()
        self.num_steps += 1

    def _observations(self) -> Tensor:
        """The open step's difficulties, in one piece: some may come from a checkpoint, on a CPU."""
        if not self._observed:
            return torch.zeros(0)
        device = self._observed[-1].device
        return torch.cat([difficulty.to(device, torch.float32) for difficulty in self._observed])

    def discard_step(self) -> None:
        """Forget the micro-batches seen since the last step: that step did not take place."""
        self._observed.clear()

    def get_extra_state(self) -> dict[str, Any]:
        """What a checkpoint holds: finished steps, the threshold's state, open observations."""
        return {
            "num_steps": self.num_steps,
            "threshold_class": type(self.threshold).__name__,
            "threshold": self.threshold.state_dict(),
            "observed": self._observations(),
        }

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`get_extra_state` gave.

        Raises:
            ConfigError: it is the state of another threshold.
        """
        ours, theirs = type(self.threshold).__name__, state["threshold_class"]
        if theirs != ours:
            raise ConfigError("threshold", f"the state is that of a {theirs}; here is a {ours}")
        self.num_steps = int(state["num_steps"])
        self.threshold.load_state_dict(state["threshold"])
        self._observed = [state["observed"]] if state["observed"].numel() > 0 else []


criteria: Registry[Criterion] = Registry(
    "criterion",
    Criterion,  # type: ignore[type-abstract]
    "sekd_plugin.criteria",
)
register_criterion = criteria.register
