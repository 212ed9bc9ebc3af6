"""A divergence over a vocabulary of two words, by its own class and by autograd."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from sekd_plugin import Divergence


@dataclass(frozen=True)
class Curve:
    """A divergence from one target, for many students."""

    student: list[float]
    """q of the first word."""

    value: list[float]
    """D(ỹ ‖ q)."""

    gradient: list[float]
    """∂D/∂z, z the student's logit of the first word."""


def two_word_curve(divergence: Divergence, target: float, logits: torch.Tensor) -> Curve:
    """D and its gradient, the second word's logit being 0.

    Args:
        divergence: D.
        target: ỹ of the first word, in [0, 1].
        logits: z of the first word, one for each student, in float64.
    """
    first = logits.detach().clone().requires_grad_()
    log_student = torch.log_softmax(torch.stack([first, torch.zeros_like(first)], dim=-1), dim=-1)
    log_target = torch.tensor([target, 1.0 - target], dtype=torch.float64).log()
    value = divergence(log_target.expand(logits.numel(), 2), log_student)
    (gradient,) = torch.autograd.grad(value.sum(), first)
    return Curve(torch.sigmoid(logits).tolist(), value.tolist(), gradient.tolist())


def at(divergence: Divergence, target: float, student: float) -> tuple[float, float]:
    """D and ∂D/∂z for one student, q of the first word being ``student``."""
    logit = math.log(student) - math.log1p(-student)
    curve = two_word_curve(divergence, target, torch.tensor([logit], dtype=torch.float64))
    return curve.value[0], curve.gradient[0]
