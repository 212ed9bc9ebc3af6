"""The baselines that the method is compared with, under the same interface."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from sekd_plugin.base_criterion import Criterion, register_criterion
from sekd_plugin.criterion import SelfEvolutionKD
from sekd_plugin.distributions import log_probabilities
from sekd_plugin.divergences import Divergence
from sekd_plugin.thresholds import FixedThreshold


@register_criterion("cross_entropy")
class CrossEntropy(Criterion):
    """Training on the gold translation alone; it needs no teacher.

    Formula:
        loss = Σ −log q_y; the difficulty of a token is its loss, and every token is easy

    Use it to train a teacher, the student's starting point, and as the first baseline.
    """

    needs_teacher = False

    def distributions(
        self, student_logits: Tensor, teacher_logits: Tensor | None, targets: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The one-hot target as its gold ids ``[n, 1]``, and log q ``[n, V]``."""
        return targets.unsqueeze(-1), log_probabilities(student_logits, 1.0)

    @torch.no_grad()
    def self_question(self, log_target: Tensor, log_student: Tensor) -> Tensor:
        """−log q_y, ``[n]``."""
        return -log_student.gather(-1, log_target).squeeze(-1)

    def self_evolution(self, log_target: Tensor, log_student: Tensor, hard: Tensor) -> Tensor:
        """−log q_y, ``[n]``."""
        return -log_student.gather(-1, log_target).squeeze(-1)


@register_criterion("word_kd")
class WordKD(SelfEvolutionKD):
    """Plain word-level distillation: every token learns the target, none is hard.

    Formula:
        loss = Σ D(ỹ ‖ q), ỹ = (1 − λ)·y + λ·p. With forward KL its gradient is that of
        (1 − λ)·cross-entropy + λ·KL(p ‖ q), from which it differs by a constant

    Use it as the baseline to beat, with λ tuned.

    Args:
        teacher_weight: λ in [0, 1].
        temperature: T > 0.
        divergence: D, a name, ``{name, config}`` or a :class:`Divergence`.
        temperature_squared: multiply the loss by T².

    Source: Hinton et al., arXiv 1503.02531; Kim & Rush, arXiv 1606.07947.
    """

    def __init__(
        self,
        *,
        teacher_weight: float = 0.5,
        temperature: float = 1.0,
        divergence: str | Mapping[str, object] | Divergence = "forward_kl",
        temperature_squared: bool = False,
    ) -> None:
        super().__init__(
            teacher_weight=teacher_weight,
            temperature=temperature,
            divergence=divergence,
            threshold=FixedThreshold(gamma=float("inf")),
            temperature_squared=temperature_squared,
        )
