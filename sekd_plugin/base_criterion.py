"""What every criterion shares: target rows, the decision, the statistics of a step, the state.

The method itself is in :mod:`sekd_plugin.criterion`: three small functions over rows, which this
class applies to a batch, whole or a chunk of rows at a time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.functional import linear
from torch.utils.checkpoint import checkpoint

from sekd_plugin.output import CriterionOutput, NonFiniteLogitsError
from sekd_plugin.ranks import gather_values
from sekd_plugin.registry import Registry
from sekd_plugin.rows import TargetRows, shared_vocabulary
from sekd_plugin.thresholds import FixedThreshold, Threshold, implied_gamma

Decide = Callable[[Tensor], Tensor]
Logits = Callable[[slice], tuple[Tensor, Tensor | None]]


@dataclass(frozen=True, kw_only=True)
class _Judgement:
    """What a chunk of rows came to; every tensor is ``[rows]``."""

    token_loss: Tensor
    difficulty: Tensor
    hard: Tensor
    cross_entropy: Tensor
    agreement: Tensor | None


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

    chunk_bytes: ClassVar[int] = 64 * 2**20
    """How many bytes of fp32 student logits :meth:`forward_linear` forms at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.num_steps = 0
        self._observed: list[Tensor] = []
        self._device = torch.device("cpu")

    # ── The method, which a subclass writes ──────────────────────────────────────────────────

    @abstractmethod
    def distributions(
        self, student_logits: Tensor, teacher_logits: Tensor | None, targets: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The target, a constant, and the student's log-probabilities, for rows ``[n, V]``."""

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

        def logits(chunk: slice) -> tuple[Tensor, Tensor | None]:
            return student_logits[chunk], None if teacher is None else teacher[chunk]

        judged = self._judge(
            logits, slice(None), rows.targets, lambda d: self._decide(d, rows.sentences)
        )
        return self._conclude(judged)

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

        Logits are formed for :attr:`chunk_bytes` at a time, and formed again in the backward
        pass. A threshold that must see the whole batch first costs one more pass.

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

        def logits(chunk: slice) -> tuple[Tensor, Tensor | None]:
            return linear(student[chunk], student_weight, student_bias), teacher(chunk)

        chunks = list(self._chunks(rows.num_targets, size))
        hard: Tensor | None = None
        if self.threshold.needs_batch:
            difficulty = [self._measure(logits, chunk, rows.targets) for chunk in chunks]
            hard = self._decide(torch.cat(difficulty), rows.sentences)
        judged = []
        for chunk in chunks:
            decided = None if hard is None else hard[chunk]
            sentences = rows.sentences[chunk]

            def decide(
                d: Tensor, decided: Tensor | None = decided, sentences: Tensor = sentences
            ) -> Tensor:
                return self._decide(d, sentences) if decided is None else decided

            judged.append(
                checkpoint(self._judge, logits, chunk, rows.targets, decide, use_reentrant=False)
            )
        return self._conclude(*judged)

    def _judge(self, logits: Logits, chunk: slice, targets: Tensor, decide: Decide) -> _Judgement:
        student, teacher = logits(chunk)
        gold = targets[chunk]
        log_target, log_student = self.distributions(student, teacher, gold)
        difficulty = self.self_question(log_target, log_student)
        self._check_finite(student, teacher, difficulty, chunk.start or 0)
        hard = decide(difficulty)
        token_loss = self.self_evolution(log_target, log_student, hard)
        with torch.no_grad():
            wide = student.to(log_student.dtype)
            gold_logit = wide.gather(-1, gold.unsqueeze(-1)).squeeze(-1)
            cross_entropy = torch.logsumexp(wide, dim=-1) - gold_logit
            agreement = None
            if teacher is not None and student.shape[-1] > 0:
                agreement = student.argmax(dim=-1) == teacher.argmax(dim=-1)
        return _Judgement(
            token_loss=token_loss,
            difficulty=difficulty,
            hard=hard,
            cross_entropy=cross_entropy,
            agreement=agreement,
        )

    @torch.no_grad()
    def _measure(self, logits: Logits, chunk: slice, targets: Tensor) -> Tensor:
        student, teacher = logits(chunk)
        difficulty = self.self_question(*self.distributions(student, teacher, targets[chunk]))
        self._check_finite(student, teacher, difficulty, chunk.start or 0)
        return difficulty

    def _decide(self, difficulty: Tensor, sentences: Tensor) -> Tensor:
        return self.threshold.decide_by_sentence(difficulty.detach(), sentences)

    def _conclude(self, *judged: _Judgement) -> CriterionOutput:
        token_loss = torch.cat([part.token_loss for part in judged])
        difficulty = torch.cat([part.difficulty for part in judged])
        hard = torch.cat([part.hard for part in judged])
        if self.training:
            self._observed.append(difficulty)
            self._device = difficulty.device
        gamma = self.threshold.gamma
        return CriterionOutput(
            loss=token_loss.sum(),
            num_targets=token_loss.numel(),
            difficulty=difficulty,
            hard=hard,
            gamma=implied_gamma(difficulty, hard) if gamma is None else gamma,
            token_loss=token_loss.detach(),
            cross_entropy=torch.cat([part.cross_entropy for part in judged]),
            agreement=(
                None
                if any(part.agreement is None for part in judged)
                else torch.cat([part.agreement for part in judged if part.agreement is not None])
            ),
        )

    def _teacher_projection(
        self,
        rows: TargetRows,
        size: int,
        hidden: Tensor | None,
        weight: Tensor | None,
        bias: Tensor | None,
        logits: Tensor | None,
    ) -> Callable[[slice], Tensor | None]:
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

    def _chunks(self, num_rows: int, vocabulary: int) -> Iterator[slice]:
        size = max(1, self.chunk_bytes // (4 * max(vocabulary, 1)))
        for start in range(0, max(num_rows, 1), size):
            yield slice(start, min(start + size, num_rows))

    def _check_finite(
        self, student: Tensor, teacher: Tensor | None, difficulty: Tensor, start: int
    ) -> None:
        if not bool(difficulty.isnan().any()):
            return
        for name, logits in (("student", student), ("teacher", teacher)):
            if logits is None:
                continue
            broken = logits.isnan().any(-1) | torch.isposinf(logits).any(-1)
            broken |= torch.isneginf(logits).all(-1)
            if bool(broken.any()):
                rows = (broken.nonzero().squeeze(-1) + start).tolist()
                raise NonFiniteLogitsError(name, rows, difficulty.numel())
        raise ValueError("the divergence returned NaN on finite logits")

    # ── Steps and state ──────────────────────────────────────────────────────────────────────

    @torch.no_grad()
    def step(self) -> None:
        """Close an optimizer step, once, after all of its micro-batches, on every rank.

        Γ moves by the difficulties of the step's target tokens, over all micro-batches and
        ranks; schedules move by one. The difficulties are sorted first, so that what a threshold
        computes from them does not depend on how the step was cut up, to the last bit.
        """
        observed = [difficulty.float() for difficulty in self._observed]
        values = torch.cat(observed) if observed else torch.zeros(0, device=self._device)
        if self.gather_over_ranks:
            values = gather_values(values, self.process_group)
        self.threshold.step(values.sort().values)
        self._observed.clear()
        self.num_steps += 1

    def discard_step(self) -> None:
        """Forget the micro-batches seen since the last step: that step did not take place."""
        self._observed.clear()

    def get_extra_state(self) -> dict[str, Any]:
        """What a checkpoint holds: finished steps, the threshold's state, open observations."""
        return {
            "num_steps": self.num_steps,
            "threshold": self.threshold.state_dict(),
            "observed": torch.cat(self._observed) if self._observed else None,
        }

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`get_extra_state` gave."""
        self.num_steps = int(state["num_steps"])
        self.threshold.load_state_dict(state["threshold"])
        observed = state["observed"]
        self._observed = [] if observed is None else [observed]


criteria: Registry[Criterion] = Registry(
    "criterion",
    Criterion,  # type: ignore[type-abstract]
    "sekd_plugin.criteria",
)
register_criterion = criteria.register
