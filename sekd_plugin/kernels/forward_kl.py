"""Forward KL in closed form: the method in a few passes over rows that stay in the cache.

With q = softmax(z / T), p = softmax(t / T), ỹ = (1 − λ)·y + λ·p and u_v = log p_v − log q_v:

    d = λ·Σ_{v≠y} p_v·(u_v + log λ) + ỹ_y·(log ỹ_y − log q_y)
    easy gradient by z: (q − ỹ) / T
    hard, linear proxy, with r = ỹ / q̂:
        loss = Σ ỹ·log r, gradient −β·q·(r − Σ q·r) / T

Differences are formed word by word, before they are summed: the two halves of d, each summed by
itself, would be larger than d by an entropy, and lose as many digits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from sekd_plugin.kernels.row_kernel import (
    Decide,
    DefinitionRows,
    Method,
    RowKernel,
    RowLosses,
    TeacherRows,
    cross_entropy_rows,
    dense,
)


class Settings(Method, Protocol):
    """What the closed form reads of the criterion."""

    teacher_weight: float
    temperature: float
    temperature_squared: bool

    @property
    def beta(self) -> float:
        """β now."""
        ...


@dataclass(frozen=True, kw_only=True)
class _Comparison:
    """Student and target of a chunk, side by side."""

    student: Tensor
    """q, ``[r, V]``."""

    others: Tensor
    """p, ``[r, V]``, with a zero at the gold word."""

    gold_target: Tensor
    """ỹ of the gold word, ``[r, 1]``."""

    difficulty: Tensor
    """d, ``[r]``."""

    gold_log_student: Tensor
    """log q of the gold word, ``[r]``."""

    agreement: Tensor
    """Whether a word is first for both, ``[r]``."""


class ForwardKLRows(RowKernel):
    """Forward KL as the loss and as the difficulty, with a teacher.

    Args:
        settings: the criterion.
        hard_rows: what computes hard rows, those alone; None if the proxy is the linear one.
        hard_scale: what a hard row's loss is multiplied by, with the linear proxy.
    """

    def __init__(
        self, settings: Settings, *, hard_rows: RowKernel | None = None, hard_scale: float = 1.0
    ) -> None:
        self._settings = settings
        self._hard_rows = hard_rows
        self._hard_scale = hard_scale
        self._definition = DefinitionRows(settings)

    def losses(
        self,
        student: Tensor,
        teacher: TeacherRows,
        targets: Tensor,
        decide: Decide,
        gradient: Tensor | None,
    ) -> RowLosses:
        """All rows as if they were easy, then the hard ones over them."""
        teacher = dense(teacher)
        if teacher is None:
            return self._definition.losses(student, teacher, targets, decide, gradient)
        settings = self._settings
        seen = self._compare(student, teacher, targets, gradient)
        hard = decide(seen.difficulty)
        rows = hard.nonzero().squeeze(-1)
        squared = settings.temperature**2 if settings.temperature_squared else 1.0
        slope = squared / settings.temperature
        token_loss = seen.difficulty * squared
        hard_gradient: Tensor | None = None
        if rows.numel() > 0:
            if self._hard_rows is None:
                hard_loss, hard_gradient = self._linear_proxy(seen, targets, rows)
                token_loss[rows] = hard_loss * (self._hard_scale * squared)
                if self._hard_scale * slope != 1.0:
                    hard_gradient.mul_(self._hard_scale * slope)
            else:
                if gradient is not None:
                    hard_gradient = seen.student.new_empty(rows.numel(), student.shape[1])
                token_loss[rows] = self._hard_rows.losses(
                    student[rows], teacher[rows], targets[rows], _all_hard, hard_gradient
                ).token_loss
        if gradient is not None:
            easy = seen.student.sub_(seen.others, alpha=settings.teacher_weight)
            easy.scatter_add_(-1, targets[:, None], -seen.gold_target)
            if slope != 1.0:
                easy.mul_(slope)
            if hard_gradient is not None:
                easy.index_copy_(0, rows, hard_gradient)
            if easy is not gradient:
                gradient.copy_(easy)
        cross_entropy = -seen.gold_log_student
        if settings.temperature != 1.0:
            cross_entropy = cross_entropy_rows(student.to(cross_entropy.dtype), targets)
        return RowLosses(
            token_loss=token_loss,
            difficulty=seen.difficulty,
            hard=hard,
            cross_entropy=cross_entropy,
            agreement=seen.agreement,
        )

    def _compare(
        self, student: Tensor, teacher: Tensor, targets: Tensor, out: Tensor | None
    ) -> _Comparison:
        weight, temperature = self._settings.teacher_weight, self._settings.temperature
        dtype = torch.promote_types(student.dtype, torch.float32)
        gold = targets[:, None]
        log_q = _shifted(student, dtype, temperature)
        q = torch.exp(log_q, out=out if out is not None and out.dtype == dtype else None)
        sum_q = q.sum(-1, keepdim=True)
        log_p = _shifted(teacher, dtype, temperature)
        agreement = (log_q + log_p).amax(-1) == 0.0
        p = torch.exp(log_p)
        sum_p = p.sum(-1, keepdim=True)
        q.mul_(sum_q.reciprocal())
        p.mul_(sum_p.reciprocal())
        log_sum_q = sum_q.double().log()
        gold_log_q = (log_q.gather(-1, gold) - log_sum_q).to(dtype)
        log_ratio = log_p.sub_(log_q).add_((log_sum_q - sum_p.double().log()).to(dtype))
        gold_target = weight * p.gather(-1, gold) + (1.0 - weight)
        p.scatter_(-1, gold, 0.0)
        product = log_ratio.mul_(p)
        spread = product.sum(-1, keepdim=True)
        if bool(spread.isnan().any()):  # words that someone gave no probability at all: 0 · ∞
            product.masked_fill_(p == 0.0, 0.0)
            spread = product.sum(-1, keepdim=True)
        spread = weight * (spread + math.log(weight) * p.sum(-1, keepdim=True))
        at_gold = gold_target * (gold_target.log() - gold_log_q)
        difficulty = spread + at_gold.masked_fill(gold_target == 0.0, 0.0)
        broken = sum_q.isnan() | sum_p.isnan()
        return _Comparison(
            student=q,
            others=p,
            gold_target=gold_target,
            difficulty=difficulty.masked_fill(broken, math.nan).squeeze(-1),
            gold_log_student=gold_log_q.squeeze(-1),
            agreement=agreement,
        )

    def _linear_proxy(
        self, seen: _Comparison, targets: Tensor, rows: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Loss ``[h]`` and gradient ``[h, V]`` of hard rows, before T and scale."""
        beta = self._settings.beta
        target = seen.others.index_select(0, rows).mul_(self._settings.teacher_weight)
        target.scatter_(-1, targets[rows, None], seen.gold_target[rows])
        share = seen.student.index_select(0, rows)
        if beta == 1.0:
            return seen.difficulty[rows], share.sub_(target)
        if beta == 0.0:
            return torch.zeros_like(seen.difficulty[rows]), share.zero_()
        share.mul_(beta)
        # Not torch.lerp: in fp32 it would take a β just below 1 for 1, and q̂ for a zero q.
        ratio = torch.add(share, target, alpha=1.0 - beta)
        torch.div(target, ratio, out=ratio)
        loss, terms = _weighted_logs(target, ratio)
        if bool(loss.isnan().any()):  # words that neither holds possible: 0 / 0
            ratio.nan_to_num_(nan=0.0)
            loss, terms = _weighted_logs(target, ratio)
        mean = torch.mul(share, ratio, out=terms).sum(-1, keepdim=True).div_(beta)
        return loss, torch.sub(mean, ratio, out=ratio).mul_(share)


def _weighted_logs(weight: Tensor, ratio: Tensor) -> tuple[Tensor, Tensor]:
    """Σ w·log r, ``[h]``, and its terms ``[h, V]``; a term without weight is zero.

    Three times as fast as ``torch.xlogy``. A ratio of zero comes with a weight of zero, which its
    logarithm, whatever it is, is multiplied by.
    """
    terms = ratio.clamp(min=torch.finfo(ratio.dtype).tiny).log_().mul_(weight)
    return terms.sum(-1), terms


def _all_hard(difficulty: Tensor) -> Tensor:
    return torch.ones_like(difficulty, dtype=torch.bool)


def _shifted(logits: Tensor, dtype: torch.dtype, temperature: float) -> Tensor:
    """Logits over T, less their greatest, in the dtype of the computation: a new ``[r, V]``."""
    wide = logits.to(dtype)
    shifted = wide - wide.amax(-1, keepdim=True)
    return shifted if temperature == 1.0 else shifted.div_(temperature)
