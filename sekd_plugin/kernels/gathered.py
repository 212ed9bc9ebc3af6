"""Rows whose words are divided among ranks, put together a chunk at a time."""

from __future__ import annotations

import torch
from torch import Tensor

from sekd_plugin.kernels.division import Division
from sekd_plugin.kernels.row_kernel import Decide, RowKernel, RowLosses, TeacherRows


class GatheredRows(RowKernel):
    """Any kernel, on rows that each rank holds a part of the words of.

    It gathers the logits of a chunk, never of a batch. Every divergence and proxy works so; a
    kernel that needs sums over the words alone does better.
    """

    def __init__(self, whole: RowKernel, division: Division) -> None:
        """Give ``whole`` the rows in one piece."""
        self._whole = whole
        self._division = division

    def losses(
        self,
        student: Tensor,
        teacher: TeacherRows,
        targets: Tensor,
        decide: Decide,
        gradient: Tensor | None,
    ) -> RowLosses:
        """The whole rows' losses; of their gradient, this rank's words."""
        student = self._division.gather(student)
        if isinstance(teacher, Tensor):
            teacher = self._division.gather(teacher)
        whole = None if gradient is None else torch.empty_like(student, dtype=gradient.dtype)
        found = self._whole.losses(student, teacher, targets, decide, whole)
        if gradient is not None and whole is not None:
            gradient.copy_(whole[:, self._division.words])
        return found


def on_whole_rows(kernel: RowKernel, division: Division | None) -> RowKernel:
    """The kernel, given whole rows also where their words are divided."""
    return kernel if division is None else GatheredRows(kernel, division)
