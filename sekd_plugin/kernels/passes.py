"""Forward KL with the linear proxy as passes over rows that are read as a stream.

Each pass reads rows of logits, or a shard of their vocabulary, once. What a shard's
``statistics`` come to, and its ``hard_sums``, are put together in
:mod:`sekd_plugin.kernels.vocabulary_shards`; the other passes need nothing from elsewhere. With the
maxima m over the row, z' = (z − m) / T and t' likewise:

    statistics: Σ e^{z'}, Σ_{v≠y} e^{t'} and Σ_{v≠y} e^{t'}·(t' − z')
    finish: d, as :mod:`sekd_plugin.kernels.forward_kl` has it; nothing the size of a vocabulary
    hard_sums: Σ ỹ·log r and Σ q·r of the hard rows, r = ỹ / q̂
    gradient: (q − ỹ) / T of easy rows, −β·q·(r − Σ q·r) / T of hard ones

Here they are written with torch; :mod:`sekd_plugin.kernels.triton_passes` has the same for a GPU.
Their common parameters are

    student, teacher: logits ``[n, V]``, all words or a shard of them
    targets: ``[n]`` gold ids, counted over all words
    first_word: the id of the first column
    temperature, teacher_weight, beta: T, λ and β
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class PartialStatistics:
    """What the words of a shard contribute to the statistics of n rows; every tensor is ``[n]``.

    The gold word is kept out of the teacher's sums, so that 1 − p_y is a sum and no difference.
    """

    temperature: float
    """T."""

    student_max: Tensor
    """The greatest z; −inf where no word is possible, and sums are zero then."""

    teacher_max: Tensor
    """The greatest t likewise."""

    impossible_max: Tensor
    """The greatest t among words v ≠ y with z = −inf, which :attr:`cross` leaves out. Whether any
    of them makes d infinite is known when the teacher's maximum is."""

    student_sum: Tensor
    """Σ e^{z'}."""

    unsoftened_sum: Tensor
    """Σ e^{z − m}, as at temperature 1."""

    teacher_others: Tensor
    """Σ_{v≠y} e^{t'}."""

    cross: Tensor
    """Σ_{v≠y} e^{t'}·(t' − z'), whose differences are formed word by word."""

    gold_student: Tensor
    """z of the gold word; 0 where it is in another shard."""

    gold_teacher: Tensor
    """t of the gold word likewise."""

    agreement: Tensor
    """Whether a word has both maxima, bool."""


@dataclass(frozen=True, kw_only=True)
class RowStatistics:
    """What n rows come to over all words; every tensor is ``[n]``."""

    student_max: Tensor
    """The greatest z."""

    student_sum: Tensor
    """Σ e^{z'}, so q = e^{z'} / Σ e^{z'}."""

    teacher_max: Tensor
    """The greatest t."""

    teacher_sum: Tensor
    """Σ e^{t'} likewise."""

    gold_target: Tensor
    """ỹ of the gold word."""

    difficulty: Tensor
    """d; NaN where a row holds NaN or +inf, or no possible word."""

    cross_entropy: Tensor
    """−log q of the gold word at temperature 1."""

    agreement: Tensor
    """Whether a word is first for both, bool."""


class Passes(Protocol):
    """The four passes; this module has them, and so has the one with Triton."""

    def statistics(
        self,
        student: Tensor,
        teacher: Tensor,
        targets: Tensor,
        *,
        temperature: float,
        first_word: int,
    ) -> PartialStatistics:
        """What these words contribute to each row's statistics."""
        ...

    def finish(self, partial: PartialStatistics, *, teacher_weight: float) -> RowStatistics:
        """Each row's statistics, from what all words contribute."""
        ...

    def hard_sums(
        self,
        student: Tensor,
        teacher: Tensor,
        targets: Tensor,
        statistics: RowStatistics,
        rows: Tensor,
        *,
        teacher_weight: float,
        beta: float,
        temperature: float,
        first_word: int,
    ) -> tuple[Tensor, Tensor]:
        """What these words contribute to Σ ỹ·log r and Σ q·r of some rows."""
        ...

    def gradient(
        self,
        student: Tensor,
        teacher: Tensor,
        targets: Tensor,
        statistics: RowStatistics,
        hard: Tensor,
        mean: Tensor,
        *,
        teacher_weight: float,
        beta: float,
        temperature: float,
        first_word: int,
        slope: float,
        hard_scale: float,
        out: Tensor,
    ) -> None:
        """Write each row's gradient by these words' logits."""
        ...


def statistics(
    student: Tensor, teacher: Tensor, targets: Tensor, *, temperature: float, first_word: int
) -> PartialStatistics:
    """What these words contribute to each row's statistics.

    A word without probability contributes nothing, even where z = −inf.
    """
    dtype = compute_dtype(student, teacher)
    z, t = student.to(dtype), teacher.to(dtype)
    student_max, teacher_max = z.amax(-1), t.amax(-1)
    gold = _is_gold(targets, first_word, z)
    shifted_z, shifted_t = _shifted(z, student_max), _shifted(t, teacher_max)
    mass = (shifted_t / temperature).exp().masked_fill(gold, 0.0)
    impossible = torch.isneginf(z) & ~gold
    product = mass * ((shifted_t - shifted_z) / temperature)
    return PartialStatistics(
        temperature=temperature,
        student_max=student_max,
        teacher_max=teacher_max,
        impossible_max=t.masked_fill(~impossible, -math.inf).amax(-1),
        student_sum=(shifted_z / temperature).exp().sum(-1),
        unsoftened_sum=shifted_z.exp().sum(-1),
        teacher_others=mass.sum(-1),
        cross=product.masked_fill(impossible | (mass == 0.0), 0.0).sum(-1),
        gold_student=z.masked_fill(~gold, 0.0).sum(-1),
        gold_teacher=t.masked_fill(~gold, 0.0).sum(-1),
        agreement=((z == student_max[:, None]) & (t == teacher_max[:, None])).any(-1),
    )


def finish(partial: PartialStatistics, *, teacher_weight: float) -> RowStatistics:
    """Each row's statistics, from what all words contribute; in float64, which rounds last."""
    dtype, temperature = partial.student_sum.dtype, partial.temperature
    student_sum, others = partial.student_sum.double(), partial.teacher_others.double()
    gold_z = (partial.gold_student - partial.student_max).double()
    gold_t = (partial.gold_teacher - partial.teacher_max).double() / temperature
    teacher_sum = others + gold_t.exp()
    gold_target = teacher_weight * (gold_t.exp() / teacher_sum) + (1.0 - teacher_weight)
    log_student_sum = student_sum.log()
    log_gold_student = gold_z / temperature - log_student_sum
    difficulty = gold_target * (gold_target.log() - log_gold_student)
    difficulty = difficulty.masked_fill(gold_target == 0.0, 0.0)
    if teacher_weight > 0.0:
        rest = log_student_sum - teacher_sum.log() + math.log(teacher_weight)
        spread = (partial.cross.double() + others * rest) / teacher_sum
        infinite = ((partial.impossible_max - partial.teacher_max) / temperature).exp() > 0.0
        difficulty = (difficulty + teacher_weight * spread).masked_fill(infinite, math.inf)
    # Written so that NaN counts as broken.
    broken = ~((student_sum > 0.0) & (teacher_sum > 0.0))
    return RowStatistics(
        student_max=partial.student_max,
        student_sum=partial.student_sum,
        teacher_max=partial.teacher_max,
        teacher_sum=teacher_sum.to(dtype),
        gold_target=gold_target.to(dtype),
        difficulty=difficulty.masked_fill(broken, math.nan).to(dtype),
        cross_entropy=(partial.unsoftened_sum.double().log() - gold_z).to(dtype),
        agreement=partial.agreement,
    )


def hard_sums(
    student: Tensor,
    teacher: Tensor,
    targets: Tensor,
    statistics: RowStatistics,
    rows: Tensor,
    *,
    teacher_weight: float,
    beta: float,
    temperature: float,
    first_word: int,
) -> tuple[Tensor, Tensor]:
    """What these words contribute to Σ ỹ·log r and Σ q·r of some rows, ``[h]`` each.

    All tensors are of all n rows but ``rows``, ``[h]``: the numbers of the hard ones.
    """
    some = _Rows(statistics, rows)
    q, target = some.distributions(
        student[rows], teacher[rows], targets[rows], teacher_weight, temperature, first_word
    )
    ratio = _ratio(q, target, beta)
    loss = (target * ratio.log()).masked_fill(target == 0.0, 0.0).sum(-1)
    return loss, (q * ratio).masked_fill(q == 0.0, 0.0).sum(-1)


def gradient(
    student: Tensor,
    teacher: Tensor,
    targets: Tensor,
    statistics: RowStatistics,
    hard: Tensor,
    mean: Tensor,
    *,
    teacher_weight: float,
    beta: float,
    temperature: float,
    first_word: int,
    slope: float,
    hard_scale: float,
    out: Tensor,
) -> None:
    """Write each row's gradient by these words' logits into ``out``.

    ``out [n, V]`` may be ``student`` itself, and of any floating dtype. ``hard [n]`` says which
    rows are hard, and ``mean [n]`` holds Σ q·r of these over all words. The gradient by the logits
    over T is multiplied by ``slope``, and on hard rows by ``hard_scale`` besides.
    """
    some = _Rows(statistics, slice(None))
    q, target = some.distributions(
        student, teacher, targets, teacher_weight, temperature, first_word
    )
    found = q - target
    if beta < 1.0:
        spread = (_ratio(q, target, beta) - mean[:, None]) * q * -beta
        found = torch.where(hard[:, None], spread, found)
    scale = torch.where(hard, hard_scale * slope, slope).to(found.dtype)
    out.copy_(found * scale[:, None])


def compute_dtype(student: Tensor, teacher: Tensor) -> torch.dtype:
    """What the passes compute in: fp32, or float64 where logits are."""
    return torch.promote_types(torch.promote_types(student.dtype, teacher.dtype), torch.float32)


class _Rows:
    """Some rows' q and ỹ, ``[r, V]`` each, given the statistics of all."""

    def __init__(self, statistics: RowStatistics, rows: slice | Tensor) -> None:
        self._student_max = statistics.student_max[rows]
        self._student_sum = statistics.student_sum[rows]
        self._teacher_max = statistics.teacher_max[rows]
        self._teacher_sum = statistics.teacher_sum[rows]
        self._gold_target = statistics.gold_target[rows]

    def distributions(
        self,
        student: Tensor,
        teacher: Tensor,
        targets: Tensor,
        teacher_weight: float,
        temperature: float,
        first_word: int,
    ) -> tuple[Tensor, Tensor]:
        dtype = compute_dtype(student, teacher)
        z = _shifted(student.to(dtype), self._student_max) / temperature
        t = _shifted(teacher.to(dtype), self._teacher_max) / temperature
        target = t.exp_() * (teacher_weight / self._teacher_sum[:, None])
        gold = _is_gold(targets, first_word, target)
        return (
            z.exp_() / self._student_sum[:, None],
            torch.where(gold, self._gold_target[:, None], target),
        )


def _ratio(student: Tensor, target: Tensor, beta: float) -> Tensor:
    """r = ỹ / q̂, 0 where ỹ is.

    q̂ may vanish where (1 − β)·ỹ is below all floats; r is at most 1 / (1 − β) there as elsewhere.
    Not torch.lerp: in fp32 it would take a β just below 1 for 1.
    """
    proxy = torch.add(student * beta, target, alpha=1.0 - beta)
    bound = 1.0 / (1.0 - beta) if beta < 1.0 else math.inf
    return (target / proxy).clamp_(max=bound).masked_fill_(target == 0.0, 0.0)


def _is_gold(targets: Tensor, first_word: int, like: Tensor) -> Tensor:
    """Which of these words are gold: ``[n, V]`` bool."""
    return torch.arange(like.shape[-1], device=like.device) == (targets - first_word)[:, None]


def _shifted(logits: Tensor, greatest: Tensor) -> Tensor:
    """Logits less the greatest; as they are where that is −inf: a new ``[n, V]``."""
    return logits - greatest.masked_fill(torch.isneginf(greatest), 0.0)[:, None]
