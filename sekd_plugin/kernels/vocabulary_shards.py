"""Rows whose words are divided among ranks: what the shards contribute, put together.

Only numbers per row travel between ranks, never logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.distributed as dist
from torch import Tensor

from sekd_plugin.kernels.passes import PartialStatistics

_MAXIMA = ("student_max", "teacher_max", "impossible_max")
_SUMS = (
    "student_sum",
    "unsoftened_sum",
    "teacher_others",
    "cross",
    "gold_student",
    "gold_teacher",
    "agreement",
)


def merge(partial: PartialStatistics, group: dist.ProcessGroup) -> PartialStatistics:
    """The statistics of all words, from those of each rank's; the same on every rank."""
    maxima = _stack(partial, _MAXIMA)
    dist.all_reduce(maxima, op=dist.ReduceOp.MAX, group=group)
    sums = _stack(_rescaled(partial, maxima), _SUMS)
    dist.all_reduce(sums, op=dist.ReduceOp.SUM, group=group)
    return _merged(partial, maxima, sums)


def merge_here(partials: Sequence[PartialStatistics]) -> PartialStatistics:
    """The same for shards that are all at hand."""
    maxima = torch.stack([_stack(partial, _MAXIMA) for partial in partials]).amax(0)
    sums = torch.stack([_stack(_rescaled(partial, maxima), _SUMS) for partial in partials]).sum(0)
    return _merged(partials[0], maxima, sums)


def add_up(parts: tuple[Tensor, Tensor], group: dist.ProcessGroup) -> tuple[Tensor, Tensor]:
    """Two sums over all words, from those over each rank's: ``[h]``, ``[h]``."""
    both = torch.stack(parts)
    dist.all_reduce(both, op=dist.ReduceOp.SUM, group=group)
    return both[0], both[1]


def _rescaled(partial: PartialStatistics, maxima: Tensor) -> PartialStatistics:
    """The same contributions, relative to greater maxima."""
    student_max, teacher_max, _ = maxima
    temperature = partial.temperature
    student_step = partial.student_max - student_max
    teacher_step = partial.teacher_max - teacher_max
    # With its maximum every t' moves, and so does the difference t' − z' of every word.
    moved = (_of_words(teacher_step) - _of_words(student_step)) / temperature
    shrunk = (teacher_step / temperature).exp()
    return replace(
        partial,
        student_sum=partial.student_sum * (student_step / temperature).exp(),
        unsoftened_sum=partial.unsoftened_sum * student_step.exp(),
        teacher_others=partial.teacher_others * shrunk,
        cross=shrunk * (partial.cross + partial.teacher_others * moved),
        agreement=partial.agreement
        & (partial.student_max == student_max)
        & (partial.teacher_max == teacher_max),
    )


def _of_words(step: Tensor) -> Tensor:
    """How far words move with their maximum; without possible words there are none to move."""
    return step.masked_fill(torch.isneginf(step), 0.0)


def _stack(partial: PartialStatistics, fields: Sequence[str]) -> Tensor:
    """``[fields, n]``."""
    dtype = partial.student_sum.dtype
    return torch.stack([getattr(partial, field).to(dtype) for field in fields])


def _merged(partial: PartialStatistics, maxima: Tensor, sums: Tensor) -> PartialStatistics:
    found = dict(zip((*_MAXIMA, *_SUMS), (*maxima, *sums), strict=True))
    found["agreement"] = found["agreement"] > 0.0
    return replace(partial, **found)
