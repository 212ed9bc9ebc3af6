"""Self-Evolution Knowledge Distillation, arXiv 2412.15303, section 3, on one page.

A frozen teacher p and the gold translation y form a target ỹ. A token is hard for the student q
when ỹ is further from it than Γ. A hard token is trained against a proxy q̂, a blend of student
and target; an easy one against the target itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from sekd_plugin.base_criterion import Criterion, register_criterion
from sekd_plugin.checks import between
from sekd_plugin.distributions import log_one_hot, log_probabilities, log_self_target
from sekd_plugin.divergences import Divergence, divergences
from sekd_plugin.errors import ConfigError
from sekd_plugin.kernels.choice import choose_kernel
from sekd_plugin.kernels.division import Division
from sekd_plugin.kernels.row_kernel import RowKernel
from sekd_plugin.proxies import Proxy, proxies
from sekd_plugin.schedules import Schedulable, Schedule, constant_or_schedule
from sekd_plugin.thresholds import Threshold, thresholds


@register_criterion("self_evolution_kd")
class SelfEvolutionKD(Criterion):
    """Self-Evolution KD: easy tokens learn the target, hard tokens a blend of it and themselves.

    Formula:
        ỹ = (1 − λ)·y + λ·p; d = D(ỹ ‖ q);
        loss = Σ_{d ≤ Γ} D(ỹ ‖ q) + Σ_{d > Γ} D(ỹ ‖ q̂), with q̂ = β·q + (1 − β)·ỹ

    Use it on a student that translates already: a word that the student does not believe in at
    all is hardly learnt from a hard token, so from random weights plain distillation is better.

    Args:
        teacher_weight: λ in [0, 1], the teacher's share of the target.
        beta: β in [0, 1], the student's share of the proxy; a number, or a schedule
            ``{start, end, num_steps, shape}`` that :meth:`step` moves.
        temperature: T > 0, softens p and q alike before anything else.
        divergence: D of the loss, a name, ``{name, config}`` or a :class:`Divergence`.
        difficulty: D of the self-question, likewise; None takes that of the loss.
        threshold: what decides which tokens are hard, likewise a :class:`Threshold`.
        proxy: what hard tokens are trained on, likewise a :class:`Proxy`.
        temperature_squared: multiply the loss, and so its gradient, by T², which keeps the
            gradient's size when T changes. The difficulty is not scaled.

    Raises:
        ConfigError: a setting that cannot be used; its key is the place in a recipe.

    Source: arXiv 2412.15303, section 3.
    """

    def __init__(
        self,
        *,
        teacher_weight: float = 0.5,
        beta: Schedulable | Mapping[str, object] = 0.5,
        temperature: float = 1.0,
        divergence: str | Mapping[str, object] | Divergence = "forward_kl",
        difficulty: str | Mapping[str, object] | Divergence | None = None,
        threshold: str | Mapping[str, object] | Threshold = "dynamic",
        proxy: str | Mapping[str, object] | Proxy = "linear",
        temperature_squared: bool = False,
    ) -> None:
        super().__init__()
        self.teacher_weight = between("teacher_weight", teacher_weight, 0.0, 1.0)
        self.needs_teacher = teacher_weight > 0.0
        self._beta = constant_or_schedule("beta", beta, 0.0, 1.0)
        self.temperature = between(
            "temperature", temperature, 0.0, float("inf"), open_low=True, open_high=True
        )
        self.divergence = divergences.create(divergence, "divergence")
        self.difficulty = (
            self.divergence if difficulty is None else divergences.create(difficulty, "difficulty")
        )
        self.threshold = thresholds.create(threshold, "threshold")
        self.proxy = proxies.create(proxy, "proxy")
        self.temperature_squared = temperature_squared
        self._check_together()

    @property
    def beta(self) -> float:
        """β now."""
        return self._beta(self.num_steps)

    def distributions(
        self, student_logits: Tensor, teacher_logits: Tensor | None, targets: Tensor
    ) -> tuple[Tensor, Tensor]:
        """log ỹ, a constant, and log q: ``[n, V]`` each."""
        log_student = log_probabilities(student_logits, self.temperature)
        if teacher_logits is None:
            return log_one_hot(targets, log_student), log_student
        log_teacher = log_probabilities(teacher_logits, self.temperature)
        return log_self_target(log_teacher, targets, self.teacher_weight), log_student

    @torch.no_grad()
    def self_question(self, log_target: Tensor, log_student: Tensor) -> Tensor:
        """How hard is each token for the student? d = D(ỹ ‖ q), ``[n]``, without gradient."""
        return self.difficulty(log_target, log_student)

    def self_evolution(self, log_target: Tensor, log_student: Tensor, hard: Tensor) -> Tensor:
        """Each token's loss, ``[n]``: D(ỹ ‖ q) where easy, D(ỹ ‖ q̂) where hard."""
        easy_rows, hard_rows = (~hard).nonzero().squeeze(-1), hard.nonzero().squeeze(-1)
        easy_loss = self.divergence(log_target[easy_rows], log_student[easy_rows])
        pair = self.proxy(log_target[hard_rows], log_student[hard_rows], self.beta)
        hard_loss = self.divergence(*pair) * self.proxy.scale(self.beta)
        token_loss = torch.cat([easy_loss, hard_loss])
        order = torch.cat([easy_rows, hard_rows]).argsort()
        scale = self.temperature**2 if self.temperature_squared else 1.0
        return token_loss[order] * scale

    def row_kernel(self, device: torch.device, division: Division | None) -> RowKernel:
        """The fastest that computes these settings; of a subclass's own method, its definition."""
        own = type(self)
        if (
            own.distributions is not SelfEvolutionKD.distributions
            or own.self_question is not SelfEvolutionKD.self_question
            or own.self_evolution is not SelfEvolutionKD.self_evolution
        ):
            return super().row_kernel(device, division)
        return choose_kernel(self, device, division)

    def computed_by(self, quantity: Literal["difficulty", "loss"]) -> str:
        """The divergence's class."""
        return type(self.difficulty if quantity == "difficulty" else self.divergence).__name__

    def _check_together(self) -> None:
        for key, chosen in (("divergence", self.divergence), ("difficulty", self.difficulty)):
            if chosen.infinite_on_zero_target and not self.needs_teacher:
                raise ConfigError(
                    "teacher_weight",
                    f"0 is not allowed with this {key}, which is infinite against a one-hot "
                    "target; it must be above 0",
                )
        ends = (
            (self._beta.start, self._beta.end) if isinstance(self._beta, Schedule) else (self.beta,)
        )
        self.proxy.check_beta(min(ends))
