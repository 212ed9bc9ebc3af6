"""The definition of the method, with gradients in closed form in place of autograd's.

With w = ∂D/∂log q, from the divergence and, on hard rows, back through the proxy:

    gradient by z: (w − q·Σ_v w_v) / T

There is no graph, and no divergence is computed twice.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from sekd_plugin.divergences import Divergence
from sekd_plugin.kernels.row_kernel import (
    Decide,
    Method,
    RowKernel,
    RowLosses,
    TeacherRows,
    cross_entropy_rows,
    define,
    dense,
    first_word_agrees,
)
from sekd_plugin.proxies import Proxy


class AnalyticMethod(Method, Protocol):
    """What this kernel reads of the criterion."""

    divergence: Divergence
    difficulty: Divergence
    proxy: Proxy
    temperature: float
    temperature_squared: bool

    @property
    def beta(self) -> float:
        """β now."""
        ...


class AnalyticRows(RowKernel):
    """Every divergence and proxy that give their gradients, a user's own included.

    Args:
        method: the criterion, with the functions of :class:`~sekd_plugin.SelfEvolutionKD` and parts
            that :meth:`supports` accepts.
    """

    def __init__(self, method: AnalyticMethod) -> None:
        self._method = method

    @staticmethod
    def supports(method: AnalyticMethod) -> bool:
        """Whether the loss's divergence and the proxy are analytic; the difficulty need not be."""
        return method.divergence.is_analytic and method.proxy.is_analytic

    @torch.no_grad()
    def losses(
        self,
        student: Tensor,
        teacher: TeacherRows,
        targets: Tensor,
        decide: Decide,
        gradient: Tensor | None,
    ) -> RowLosses:
        """The definition's losses, and its gradient."""
        method, logits = self._method, dense(teacher)
        if gradient is None:
            return define(method, student, logits, targets, decide)
        log_target, log_student = method.distributions(student, logits, targets)
        if method.difficulty is method.divergence:
            # All rows as if they were easy, then the hard ones over them.
            difficulty, slope = method.divergence.value_and_gradient(log_target, log_student)
            token_loss = difficulty.clone()
            hard = decide(difficulty)
        else:
            difficulty = method.self_question(log_target, log_student)
            token_loss, slope = torch.empty_like(difficulty), torch.empty_like(log_student)
            hard = decide(difficulty)
            easy_rows = _numbers(~hard)
            token_loss[easy_rows], slope[easy_rows] = method.divergence.value_and_gradient(
                log_target[easy_rows], log_student[easy_rows]
            )
        hard_rows = _numbers(hard)
        token_loss[hard_rows], slope[hard_rows] = self._through_proxy(
            log_target[hard_rows], log_student[hard_rows]
        )
        squared = method.temperature**2 if method.temperature_squared else 1.0
        cross_entropy = -log_student.gather(-1, targets[:, None])[:, 0]
        if method.temperature != 1.0:
            cross_entropy = cross_entropy_rows(student.to(log_student.dtype), targets)
        slope.addcmul_(log_student.exp_(), slope.sum(-1, keepdim=True), value=-1.0)
        torch.mul(slope, squared / method.temperature, out=gradient)
        return RowLosses(
            token_loss=token_loss * squared,
            difficulty=difficulty,
            hard=hard,
            cross_entropy=cross_entropy,
            agreement=None if logits is None else first_word_agrees(student, logits),
        )

    def _through_proxy(self, log_target: Tensor, log_student: Tensor) -> tuple[Tensor, Tensor]:
        """Loss ``[h]`` of hard rows and its gradient by log q ``[h, V]``, before T."""
        proxy, beta = self._method.proxy, self._method.beta
        first, second = proxy(log_target, log_student, beta)
        value, slope = self._method.divergence.value_and_gradient(first, second)
        slope = proxy.pull_back(log_target, log_student, second, beta, slope)
        scale = proxy.scale(beta)
        return (value, slope) if scale == 1.0 else (value * scale, slope * scale)


def _numbers(chosen: Tensor) -> Tensor | slice:
    """Which rows are chosen; all of them as a slice, which copies nothing."""
    return slice(None) if bool(chosen.all()) else chosen.nonzero().squeeze(-1)
