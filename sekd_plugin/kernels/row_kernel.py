"""What a row kernel is, and the one that works for every divergence and proxy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

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


class RowKernel(ABC):
    """Losses and gradients of a chunk of rows of logits."""

    @abstractmethod
    def difficulty(self, student: Tensor, teacher: Tensor | None, targets: Tensor) -> Tensor:
        """Each row's difficulty, for a threshold that must see the whole batch first.

        Args:
            student: logits ``[r, V]``.
            teacher: logits ``[r, V]``, or None.
            targets: ``[r]`` gold ids.

        Returns:
            ``[r]``.
        """

    @abstractmethod
    def losses(
        self,
        student: Tensor,
        teacher: Tensor | None,
        targets: Tensor,
        decide: Decide,
        gradient: Tensor | None,
    ) -> RowLosses:
        """Each row's loss; its gradient by the student's logits is written into ``gradient``.

        Args:
            student: logits ``[r, V]``.
            teacher: logits ``[r, V]``, or None.
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

    def difficulty(self, student: Tensor, teacher: Tensor | None, targets: Tensor) -> Tensor:
        """The definition's difficulty: ``[r]``."""
        with torch.no_grad():
            pair = self._method.distributions(student, teacher, targets)
            return self._method.self_question(*pair)

    def losses(
        self,
        student: Tensor,
        teacher: Tensor | None,
        targets: Tensor,
        decide: Decide,
        gradient: Tensor | None,
    ) -> RowLosses:
        """The definition's losses, and their gradient by autograd."""
        with torch.set_grad_enabled(True):
            leaf = student.detach().requires_grad_(gradient is not None)
            found = define(self._method, leaf, teacher, targets, decide)
            if gradient is not None:
                gradient.copy_(torch.autograd.grad(found.token_loss.sum(), leaf)[0])
        return RowLosses(
            token_loss=found.token_loss.detach(),
            difficulty=found.difficulty,
            hard=found.hard,
            cross_entropy=found.cross_entropy,
            agreement=found.agreement,
        )


def define(
    method: Method, student: Tensor, teacher: Tensor | None, targets: Tensor, decide: Decide
) -> RowLosses:
    """The method, as defined, on rows of logits; differentiable by the student's."""
    log_target, log_student = method.distributions(student, teacher, targets)
    difficulty = method.self_question(log_target, log_student)
    hard = decide(difficulty)
    token_loss = method.self_evolution(log_target, log_student, hard)
    with torch.no_grad():
        wide = student.to(log_student.dtype)
        gold = wide.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
        cross_entropy = torch.logsumexp(wide, dim=-1) - gold
        agreement = None if teacher is None else first_word_agrees(student, teacher)
    return RowLosses(
        token_loss=token_loss,
        difficulty=difficulty,
        hard=hard,
        cross_entropy=cross_entropy,
        agreement=agreement,
    )


def first_word_agrees(student: Tensor, teacher: Tensor) -> Tensor:
    """Whether some word has the greatest logit in both rows: ``[r, V]``, ``[r, V]`` → ``[r]``."""
    first = student == student.amax(dim=-1, keepdim=True)
    return (first & (teacher == teacher.amax(dim=-1, keepdim=True))).any(dim=-1)
