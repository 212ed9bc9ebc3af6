"""What each loss is, written down plainly in float64: the measure of every contender's gradient."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.problem import BETA, TEACHER_WEIGHT

RowLoss = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""From student and teacher logits ``[r, V]``, gold words and hard ``[r]`` to losses ``[r]``."""


def kl(student: Tensor, teacher: Tensor, targets: Tensor, hard: Tensor) -> Tensor:
    """KL(p ‖ q)."""
    log_student, log_teacher = student.log_softmax(-1), teacher.log_softmax(-1)
    return (log_teacher.exp() * (log_teacher - log_student)).sum(-1)


def kl_and_cross_entropy(student: Tensor, teacher: Tensor, targets: Tensor, hard: Tensor) -> Tensor:
    """(1 − λ)·cross-entropy + λ·KL(p ‖ q): the gradient of word-level distillation."""
    gold = F.cross_entropy(student, targets, reduction="none")
    return (1.0 - TEACHER_WEIGHT) * gold + TEACHER_WEIGHT * kl(student, teacher, targets, hard)


def jensen_shannon(student: Tensor, teacher: Tensor, targets: Tensor, hard: Tensor) -> Tensor:
    """½·KL(p ‖ m) + ½·KL(q ‖ m), m = ½·(p + q)."""
    log_student, log_teacher = student.log_softmax(-1), teacher.log_softmax(-1)
    mixture = (0.5 * (log_student.exp() + log_teacher.exp())).log()
    return 0.5 * (
        log_teacher.exp() * (log_teacher - mixture) + log_student.exp() * (log_student - mixture)
    ).sum(-1)


def self_evolution(student: Tensor, teacher: Tensor, targets: Tensor, hard: Tensor) -> Tensor:
    """Easy rows D(ỹ ‖ q), hard ones D(ỹ ‖ q̂)."""
    target = TEACHER_WEIGHT * teacher.softmax(-1)
    target = target + (1.0 - TEACHER_WEIGHT) * F.one_hot(targets, student.shape[-1])
    own = student.softmax(-1)
    proxy = torch.where(hard.unsqueeze(-1), BETA * own + (1.0 - BETA) * target, own)
    return (target * (target.log() - proxy.log())).sum(-1)


OBJECTIVES: dict[str, RowLoss] = {
    "method": self_evolution,
    "KL + CE": kl_and_cross_entropy,
    "KL": kl,
    "JSD": jensen_shannon,
}
