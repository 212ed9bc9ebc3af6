"""What a row kernel is, and the one that works for every divergence and proxy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

import torch
from torch import Tensor

from sekd_plugin.errors import ComponentError
from sekd_plugin.teachers import SparseTeacher

TeacherRows = Tensor | SparseTeacher | None
"""What is known of the teacher on some rows: logits ``[r, V]``, its likeliest words, or nothing."""

Decide = Callable[[Tensor], Tensor]
"""From the difficulties of a chunk ``[r]`` to which of its rows are hard, ``[r]`` bool."""


class Method(Protocol):
    """The three functions of a criterion that a kernel computes."""

    def distributions(
        self, student_logits: Tensor, teacher_logits: Tensor | None, targets: Tensor
    ) -> tuple[Tensor, Tensor]:
        """log ỹ and log q."""
        ...

    def self_question(self, log_target: Tensor, log_student: Tensor) -> Tensor:
        """The difficulty."""
        ...

    def self_evolution(self, log_target: Tensor, log_student: Tensor, hard: Tensor) -> Tensor:
        """The loss."""
        ...

    def computed_by(self, quantity: Literal["difficulty", "loss"]) -> str:
        """The name of the class that computes it."""
        ...


@dataclass(frozen=True, kw_only=True)
class RowLosses:
    """What a chunk of r rows came to; every tensor is ``[r]``."""

    token_loss: Tensor
    """Each row's loss; only the reference path leaves it differentiable."""

    difficulty: Tensor
    """Each row's d."""

    hard: Tensor
    """Which rows are hard, bool."""

    cross_entropy: Tensor
    """−log q of the gold word at temperature 1."""

    agreement: Tensor | None
    """Whether a word is first for teacher and student alike, bool; None without a teacher."""

    @staticmethod
    def joined(parts: Sequence[RowLosses], like: Tensor) -> RowLosses:
        """The chunks of a batch in one piece; ``like`` has the dtype of a batch without rows."""
        if not parts:
            none = like.new_zeros(0)
            return RowLosses(
                token_loss=none,
                difficulty=none,
                hard=none.bool(),
                cross_entropy=none,
                agreement=none.bool(),
            )
        agreement = [part.agreement for part in parts if part.agreement is not None]
        return RowLosses(
            token_loss=torch.cat([part.token_loss for part in parts]),
            difficulty=torch.cat([part.difficulty for part in parts]),
            hard=torch.cat([part.hard for part in parts]),
            cross_entropy=torch.cat([part.cross_entropy for part in parts]),
            agreement=torch.cat(agreement) if agreement else None,
        )


class RowKernel(ABC):
    """Losses and gradients of a chunk of rows of logits."""

    streams: ClassVar[bool] = False
    """Whether it streams over rows by itself, so that they need not be cut to fit a cache."""

    @abstractmethod
    def losses(
        self,
        student: Tensor,
        teacher: TeacherRows,
        targets: Tensor,
        decide: Decide,
        gradient: Tensor | None,
    ) -> RowLosses:
        """Each row's loss; its gradient by the student's logits is written into ``gradient``.

        Args:
            student: logits ``[r, V]``.
            teacher: what is known of the teacher.
            targets: ``[r]`` gold ids.
            decide: which rows are hard.
            gradient: ``[r, V]``, overwritten; None where nothing is to be learnt.
        """


class DefinitionRows(RowKernel):
    """The criterion's own definition, differentiated by autograd a chunk at a time.

    It serves every divergence, difficulty and proxy, a user's own included.
    """

    def __init__(self, method: Method) -> None:
        self._method = method

    def losses(
        self,
        student: Tensor,
        teacher: TeacherRows,
        targets: Tensor,
        decide: Decide,
        gradient: Tensor | None,
    ) -> RowLosses:
        """The definition's losses, and their gradient by autograd."""
        with torch.set_grad_enabled(True):
            leaf = student.detach().requires_grad_(gradient is not None)
            found = define(self._method, leaf, dense(teacher), targets, decide)
            if gradient is not None and found.token_loss.requires_grad:
                gradient.copy_(torch.autograd.grad(found.token_loss.sum(), leaf)[0])
            elif gradient is not None and student.shape[0] > 0:
                raise ComponentError(
                    self._method.computed_by("loss"), "gives no gradient by the student's logits"
                )
        return RowLosses(
            token_loss=found.token_loss.detach(),
            difficulty=found.difficulty,
            hard=found.hard,
            cross_entropy=found.cross_entropy,
            agreement=found.agreement,
        )


def dense(teacher: TeacherRows) -> Tensor | None:
    """The teacher's logits, for a kernel that reads nothing else."""
    if isinstance(teacher, SparseTeacher):
        raise TypeError("a sparse teacher has no logits")
    return teacher


def define(
    method: Method, student: Tensor, teacher: Tensor | None, targets: Tensor, decide: Decide
) -> RowLosses:
    """The method, as defined, on rows of logits; differentiable by the student's."""
    log_target, log_student = method.distributions(student, teacher, targets)
    difficulty = method.self_question(log_target, log_student)
    hard = decide(difficulty)
    token_loss = method.self_evolution(log_target, log_student, hard)
    with torch.no_grad():
        cross_entropy = cross_entropy_rows(student.to(log_student.dtype), targets)
        agreement = None if teacher is None else first_word_agrees(student, teacher)
    return RowLosses(
        token_loss=token_loss,
        difficulty=difficulty,
        hard=hard,
        cross_entropy=cross_entropy,
        agreement=agreement,
    )


def cross_entropy_rows(student: Tensor, targets: Tensor) -> Tensor:
    """−log q of the gold words at temperature 1: ``[r, V]``, ``[r]`` → ``[r]``."""
    gold = student.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    return torch.logsumexp(student, dim=-1) - gold


def first_word_agrees(student: Tensor, teacher: Tensor) -> Tensor:
    """Whether some word has the greatest logit in both rows: ``[r, V]``, ``[r, V]`` → ``[r]``."""
    first = student == student.amax(dim=-1, keepdim=True)
    return (first & (teacher == teacher.amax(dim=-1, keepdim=True))).any(dim=-1)
