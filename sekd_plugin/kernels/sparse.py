"""Rows under a sparse teacher: the method on the listed words, the gold word and the tail.

The student's probability of the tail is the sum over its words, so a gradient on the tail is shared
among them in proportion to the student's own probabilities.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sekd_plugin.kernels.row_kernel import (
    Decide,
    Method,
    RowKernel,
    RowLosses,
    TeacherRows,
    cross_entropy_rows,
    define,
)
from sekd_plugin.teachers import SparseTeacher


class SparseRows(RowKernel):
    """The criterion's definition over coarsened rows ``[r, k + 2]``.

    Their columns are the k listed words, the gold word if it is not among them (else a word that
    is impossible for both), and the tail.
    """

    def __init__(self, method: Method, temperature: float) -> None:
        """Compute ``method``, whose temperature is given, for sparse teachers."""
        self._method = method
        self._temperature = temperature

    def losses(
        self,
        student: Tensor,
        teacher: TeacherRows,
        targets: Tensor,
        decide: Decide,
        gradient: Tensor | None,
    ) -> RowLosses:
        """The definition's losses of the coarsened rows, their gradient by every word's logit."""
        rows = self._coarsen(student, teacher, targets)
        with torch.set_grad_enabled(True):
            leaf = rows.student.requires_grad_(gradient is not None)
            found = define(self._method, leaf, rows.teacher, rows.gold, decide)
            if gradient is not None:
                (slope,) = torch.autograd.grad(found.token_loss.sum(), leaf)
                rows.spread(slope, out=gradient)
        cross_entropy = found.cross_entropy
        if self._temperature != 1.0:  # the tail was summed at T
            cross_entropy = cross_entropy_rows(student.to(cross_entropy.dtype), targets)
        return RowLosses(
            token_loss=found.token_loss.detach(),
            difficulty=found.difficulty,
            hard=found.hard,
            cross_entropy=cross_entropy,
            agreement=rows.first_word_agrees(),
        )

    def _coarsen(self, student: Tensor, teacher: TeacherRows, targets: Tensor) -> _CoarseRows:
        if not isinstance(teacher, SparseTeacher):
            raise TypeError(f"a sparse teacher is needed, not {type(teacher).__name__}")
        return _CoarseRows(student.detach(), teacher, targets, self._temperature)


class _CoarseRows:
    """A chunk of rows, coarsened; logits are multiplied by T again, which the method divides by.

    Nothing here is as wide as the vocabulary but the exponentials of the tail's words, which stay
    for the gradient.
    """

    def __init__(
        self, student: Tensor, teacher: SparseTeacher, targets: Tensor, temperature: float
    ) -> None:
        dtype = torch.promote_types(student.dtype, torch.float32)
        wide = student.to(dtype)
        log_listed = teacher.log_probabilities.to(dtype)
        gold = targets[:, None]
        # A place without probability lists nothing, and its word is of the tail: rows that list
        # fewer words than others are filled up with such places.
        absent = torch.isneginf(log_listed)
        listed_words = torch.where(absent, gold, teacher.indices)
        match = (listed_words == gold) & ~absent
        gold_listed = match.any(-1, keepdim=True)
        gold_logit = wide.gather(-1, gold).masked_fill(gold_listed, -math.inf)
        listed = wide.gather(-1, listed_words).masked_fill(absent, -math.inf)

        self._words = torch.cat([listed_words, gold], dim=-1)
        rest = wide.scatter(-1, self._words, -math.inf)
        greatest = rest.amax(-1, keepdim=True)
        no_rest = torch.isneginf(greatest)
        rest -= greatest.masked_fill(no_rest, 0.0)
        if temperature != 1.0:
            rest /= temperature
        self._rest = rest.exp_()
        self._sum = rest.sum(-1, keepdim=True)
        tail = self._sum.log() * temperature + greatest
        self.student = torch.cat([listed, gold_logit, tail], dim=-1)
        self._greatest = torch.maximum(greatest, self.student[:, :-1].amax(-1, keepdim=True))

        log_gold = teacher.log_gold.to(dtype)[:, None].masked_fill(gold_listed, -math.inf)
        log_tail = teacher.log_tail.to(dtype)[:, None]
        # The gold word leaves the tail; rounding may leave it with less than nothing.
        left = (log_gold - log_tail).masked_fill(torch.isneginf(log_gold), -math.inf).clamp(max=0.0)
        log_tail = torch.where(left == 0.0, -math.inf, log_tail + torch.log1p(-left.exp()))
        # A student without any words left has no place for a tail.
        log_tail = log_tail.masked_fill(no_rest, -math.inf)
        self._log_listed = log_listed
        self.teacher = torch.cat([log_listed, log_gold, log_tail], dim=-1) * temperature

        self.gold = torch.cat([match, ~gold_listed], dim=-1).to(torch.uint8).argmax(-1)

    def spread(self, slope: Tensor, out: Tensor) -> None:
        """From the gradient by coarse logits ``[r, k + 2]`` to that by all logits ``[r, V]``."""
        self._rest.mul_(slope[:, -1:] / self._sum.masked_fill(self._sum == 0.0, 1.0))
        # Zero where the gold word is listed as well: its own column is impossible then.
        self._rest.scatter_add_(-1, self._words, slope[:, :-1].nan_to_num(nan=0.0))
        out.copy_(self._rest)

    def first_word_agrees(self) -> Tensor:
        """Whether a word that is first for the teacher is first for the student: ``[r]``."""
        listed = self._log_listed
        if listed.shape[-1] == 0:
            return torch.zeros_like(self.gold, dtype=torch.bool)
        first = listed == listed.amax(-1, keepdim=True)
        students = self.student[:, : listed.shape[-1]] == self._greatest
        return (first & students).any(-1)
