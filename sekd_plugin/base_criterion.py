"""What every criterion shares: target rows, the decision, the statistics of a step, the state.

The method itself is in :mod:`sekd_plugin.criterion`: three small functions over rows, which this
class applies to a batch, whole or a chunk of rows at a time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.functional import linear

from sekd_plugin.checks import one_of
from sekd_plugin.errors import ConfigError
from sekd_plugin.kernels.fused import (
    ChunkBytes,
    ChunkDecide,
    Rows,
    RowsOf,
    TeacherLogits,
    losses_of_hidden,
    losses_of_logits,
    measure,
    row_chunks,
)
from sekd_plugin.kernels.row_kernel import DefinitionRows, RowKernel, RowLosses, define
from sekd_plugin.output import CriterionOutput, NonFiniteLogitsError
from sekd_plugin.ranks import gather_values
from sekd_plugin.registry import Registry
from sekd_plugin.rows import TargetRows, shared_vocabulary
from sekd_plugin.thresholds import FixedThreshold, Threshold, implied_gamma

KERNELS = ("auto", "reference", "chunked")
"""Ways to compute a criterion: its definition by autograd over all rows at once, or by chunks with
the gradient formed in the forward pass. ``auto`` is ``chunked``."""


class Criterion(nn.Module, ABC):
    """A loss over target tokens, with the interface of the method.

    A subclass says what the target is, how difficulty is measured and what each token costs.
    It has no parameters. Its statistics move only in training mode (``train()``), so validation
    leaves no trace.
    """

    needs_teacher: bool = True
    """Whether teacher logits must be given."""

    threshold: Threshold = FixedThreshold(gamma=float("inf"))
    """What decides which tokens are hard; by default none is."""

    process_group: dist.ProcessGroup | None = None
    """The ranks that share an optimizer step; None is every rank of ``torch.distributed``."""

    gather_over_ranks: bool = True
    """Whether :meth:`step` gathers over ranks at all; False where all of them see the same data,
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

    # ── Its application to a batch ───────────────────────────────────────────────────────────

    def forward(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor | None,
        targets: Tensor,
        mask: Tensor | None = None,
    ) -> CriterionOutput:
        """The loss of a batch of logits.

        Args:
            student_logits: ``[..., V]``, any floating dtype.
            teacher_logits: ``[..., V']``, V' ≥ V (its first V words are used), or None where
                :attr:`needs_teacher` is false. No gradient flows into it.
            targets: ``[...]`` gold ids; anything where masked.
            mask: ``[...]`` bool, True on target tokens; None makes every position one.

        Raises:
            ValueError: shapes, dtypes, vocabularies or target ids that do not fit together.
            NonFiniteLogitsError: NaN or +inf in the logits of a target token.
        """
        rows = TargetRows.of(targets, mask)
        student = rows.take(student_logits, "student_logits")
        teacher = None
        if self.needs_teacher and teacher_logits is not None:
            teacher = rows.take(teacher_logits.detach(), "teacher_logits")
        return self.forward_rows(rows, student, teacher)

    def forward_rows(
        self, rows: TargetRows, student_logits: Tensor, teacher_logits: Tensor | None
    ) -> CriterionOutput:
        """The same for rows selected already, so that no logits are formed for other positions.

        Args:
            rows: where the target tokens are.
            student_logits: ``[n, V]``, of the target tokens alone.
            teacher_logits: ``[n, V']``, likewise, or None as in :meth:`forward`.
        """
        teacher = None
        if self.needs_teacher:
            if teacher_logits is None:
                raise ValueError("teacher_logits are needed by this criterion, but are None")
            shared = shared_vocabulary(teacher_logits.shape[-1], student_logits.shape[-1])
            teacher = teacher_logits.detach()[:, :shared]
        rows.check_vocabulary(student_logits.shape[-1])

        def student_rows(chunk: Rows) -> Tensor:
            return student_logits.detach()[chunk]

        def teacher_rows(chunk: Rows) -> Tensor | None:
            return None if teacher is None else teacher[chunk]

        if self.kernel == "reference":

            def decide_all(difficulty: Tensor) -> Tensor:
                return self._decide(difficulty, rows.sentences)

            found = define(self, student_logits, teacher, rows.targets, decide_all)
            return self._conclude(found.token_loss.sum(), [found], student_rows, teacher_rows)

        kernel = self.row_kernel()
        decide = self._decision(kernel, rows, student_rows, teacher_rows, student_logits.shape[-1])
        loss, parts = losses_of_logits(
            kernel, student_logits, teacher_rows, rows.targets, decide, self.chunk_bytes
        )
        return self._conclude(loss, parts, student_rows, teacher_rows)

    def forward_linear(
        self,
        student_hidden: Tensor,
        student_weight: Tensor,
        teacher_hidden: Tensor | None = None,
        teacher_weight: Tensor | None = None,
        targets: Tensor | None = None,
        mask: Tensor | None = None,
        *,
        teacher_logits: Tensor | None = None,
        student_bias: Tensor | None = None,
        teacher_bias: Tensor | None = None,
    ) -> CriterionOutput:
        """The same loss from hidden states, without the logits of the batch.

        Logits are formed for a chunk of rows at a time, and so are the gradients, which the
        backward pass only hands on. A threshold that must see the whole batch first costs one
        more pass. With ``kernel = "reference"`` all logits are formed at once.

        Args:
            student_hidden: ``[..., D]``, what the output projection is applied to.
            student_weight: ``[V, D]``, the output projection.
            teacher_hidden: ``[..., D']``.
            teacher_weight: ``[V', D']``, V' ≥ V.
            targets: ``[...]`` gold ids.
            mask: ``[...]`` bool, True on target tokens.
            teacher_logits: ``[..., V']``, instead of the teacher's hidden states and weight.
            student_bias: ``[V]``, if the projection has one.
            teacher_bias: ``[V']``, likewise.

        Raises:
            ValueError, NonFiniteLogitsError: as :meth:`forward`.
        """
        if targets is None:
            raise ValueError("targets are missing")
        rows = TargetRows.of(targets, mask)
        size = student_weight.shape[0]
        rows.check_vocabulary(size)
        student = rows.take(student_hidden, "student_hidden")
        teacher = self._teacher_projection(
            rows, size, teacher_hidden, teacher_weight, teacher_bias, teacher_logits
        )

        if self.kernel == "reference":
            logits = linear(student, student_weight, student_bias)
            return self.forward_rows(rows, logits, teacher(slice(None)))

        def student_rows(chunk: Rows) -> Tensor:
            bias = None if student_bias is None else student_bias.detach()
            return linear(student.detach()[chunk], student_weight.detach(), bias)

        kernel = self.row_kernel()
        decide = self._decision(kernel, rows, student_rows, teacher, size)
        loss, parts = losses_of_hidden(
            kernel,
            student,
            student_weight,
            student_bias,
            teacher,
            rows.targets,
            decide,
            self.chunk_bytes,
        )
        return self._conclude(loss, parts, student_rows, teacher)

    def row_kernel(self) -> RowKernel:
        """What computes a chunk of rows: the definition, unless a closed form is known."""
        return DefinitionRows(self)

    def _decision(
        self,
        kernel: RowKernel,
        rows: TargetRows,
        student: RowsOf,
        teacher: TeacherLogits,
        vocabulary: int,
    ) -> ChunkDecide:
        """Which rows of a chunk are hard: by a known Γ, or by all rows' difficulties first."""
        sentences = rows.sentences
        if not self.threshold.needs_batch:
            return lambda chunk: lambda d: self._decide(d, sentences[chunk])
        chunks = row_chunks(rows.num_targets, vocabulary, self.chunk_bytes.logits_bytes)
        found = measure(kernel, student, teacher, rows.targets, chunks)
        difficulty = torch.cat(found) if found else sentences.new_zeros(0, dtype=torch.float32)
        hard = self._decide(difficulty, sentences)
        return lambda chunk: lambda d: hard[chunk]

    def _decide(self, difficulty: Tensor, sentences: Tensor) -> Tensor:
        hard = self.threshold.decide_by_sentence(difficulty, sentences)
        if hard.shape != difficulty.shape or hard.dtype != torch.bool:
            raise ValueError(
                f"{type(self.threshold).__name__}.decide returned {hard.dtype} of the shape "
                f"{tuple(hard.shape)}; it must be bool of the shape {tuple(difficulty.shape)}"
            )
        return hard

    def _conclude(
        self, loss: Tensor, parts: list[RowLosses], student: RowsOf, teacher: TeacherLogits
    ) -> CriterionOutput:
        empty = loss.detach().new_zeros(0)
        token_loss = torch.cat([empty, *(part.token_loss.detach() for part in parts)])
        difficulty = torch.cat([empty, *(part.difficulty for part in parts)])
        hard = torch.cat([empty.bool(), *(part.hard for part in parts)])
        agreement = [part.agreement for part in parts if part.agreement is not None]
        self._check_finite(difficulty.isnan() | token_loss.isnan(), student, teacher)
        if self.training and self.threshold.observes:
            self._observed.append(difficulty)
        gamma = self.threshold.gamma
        return CriterionOutput(
            loss=loss,
            num_targets=token_loss.numel(),
            difficulty=difficulty,
            hard=hard,
            gamma=implied_gamma(difficulty, hard) if gamma is None else gamma,
            token_loss=token_loss,
            cross_entropy=torch.cat([empty, *(part.cross_entropy for part in parts)]),
            agreement=torch.cat([empty.bool(), *agreement]) if self.needs_teacher else None,
        )

    def _teacher_projection(
        self,
        rows: TargetRows,
        size: int,
        hidden: Tensor | None,
        weight: Tensor | None,
        bias: Tensor | None,
        logits: Tensor | None,
    ) -> TeacherLogits:
        if not self.needs_teacher:
            return lambda chunk: None
        if logits is not None:
            if hidden is not None or weight is not None:
                raise ValueError("give teacher_logits or the teacher's hidden states, not both")
            ready = rows.take(logits.detach(), "teacher_logits")
            shared = shared_vocabulary(ready.shape[-1], size)
            return lambda chunk: ready[chunk, :shared]
        if hidden is None or weight is None:
            raise ValueError("the teacher is missing: give its hidden states and weight, or logits")
        shared = shared_vocabulary(weight.shape[0], size)
        states = rows.take(hidden.detach(), "teacher_hidden")
        frozen = weight.detach()[:shared]
        shift = None if bias is None else bias.detach()[:shared]
        return lambda chunk: linear(states[chunk], frozen, shift)

    def _check_finite(
        self, undefined: Tensor, student: RowsOf, teacher: Callable[[Tensor], Tensor | None]
    ) -> None:
        rows = undefined.nonzero().squeeze(-1)
        if rows.numel() == 0:
            return
        for name, logits in (("student", student(rows)), ("teacher", teacher(rows))):
            if logits is None:
                continue
            broken = logits.isnan().any(-1) | torch.isposinf(logits).any(-1)
            broken |= torch.isneginf(logits).all(-1)
            if bool(broken.any()):
                raise NonFiniteLogitsError(name, rows[broken].tolist(), undefined.numel())
        raise ValueError("the divergence returned NaN on finite logits")

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
            values = gather_values(values, self.process_group)
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
