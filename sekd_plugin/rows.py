"""From a batch to its target rows: everything after works on ``[n, V]``, n target tokens."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class TargetRows:
    """Where the target tokens of a batch are.

    Rows are selected by index, before any arithmetic: a masked row may hold NaN, and zero times
    NaN is NaN.
    """

    shape: torch.Size
    """The batch's shape, that of ``targets``."""

    index: Tensor | None
    """``[n]`` int64, the flat positions of the target tokens; None means every position."""

    targets: Tensor
    """``[n]`` int64, the gold ids."""

    sentences: Tensor
    """``[n]`` int64, the number of each token's sentence: the row of the batch it stands in."""

    @classmethod
    def of(cls, targets: Tensor, mask: Tensor | None) -> TargetRows:
        """Find the target rows of ``targets [...]`` under ``mask [...]`` (None: all of them).

        Raises:
            ValueError: targets are not whole numbers, or the mask is of another shape or floats.
        """
        if targets.is_floating_point() or targets.is_complex() or targets.dtype == torch.bool:
            raise ValueError(f"targets must be token ids (int64), but are {targets.dtype}")
        flat = targets.reshape(-1).long()
        width = targets.shape[-1] if targets.ndim > 1 else max(flat.numel(), 1)
        if mask is None:
            position = torch.arange(flat.numel(), device=flat.device)
            return cls(
                shape=targets.shape, index=None, targets=flat, sentences=position // max(width, 1)
            )
        if mask.shape != targets.shape:
            raise ValueError(
                f"mask has the shape {tuple(mask.shape)}, targets {tuple(targets.shape)}; "
                "they must be equal"
            )
        if mask.is_floating_point() or mask.is_complex():
            raise ValueError(f"mask must be bool, True on target tokens, but is {mask.dtype}")
        index = mask.reshape(-1).nonzero().squeeze(-1)
        return cls(
            shape=targets.shape,
            index=index,
            targets=flat.index_select(0, index),
            sentences=index // max(width, 1),
        )

    @property
    def num_targets(self) -> int:
        """n, the number of target tokens."""
        return self.targets.numel()

    def take(self, batch: Tensor, name: str) -> Tensor:
        """The target rows of ``batch [..., D]`` as ``[n, D]``.

        Raises:
            ValueError: the leading dimensions are not those of the targets.
        """
        if batch.shape[:-1] != self.shape:
            raise ValueError(
                f"{name} has the shape {tuple(batch.shape)}; before the last dimension it must "
                f"be that of targets, {tuple(self.shape)}"
            )
        flat = batch.reshape(self.shape.numel(), batch.shape[-1])
        return flat if self.index is None else flat.index_select(0, self.index)

    def place(self, values: Tensor) -> Tensor:
        """Values of the target rows ``[n, ...]`` at their places in the batch; zeros elsewhere."""
        if self.index is None:
            return values.reshape(*self.shape, *values.shape[1:])
        whole = values.new_zeros(self.shape.numel(), *values.shape[1:])
        whole[self.index] = values
        return whole.reshape(*self.shape, *values.shape[1:])

    def check_vocabulary(self, size: int) -> None:
        """Check that every gold id is in the vocabulary of ``size`` words.

        Raises:
            ValueError: one is not; the message names it.
        """
        if self.num_targets == 0:
            return
        low, high = (int(end) for end in torch.aminmax(self.targets))
        if low < 0 or high >= size:
            wrong = low if low < 0 else high
            raise ValueError(
                f"targets hold the id {wrong}, outside the vocabulary of {size}; "
                "mask the positions that are not targets"
            )


def shared_vocabulary(teacher_size: int, student_size: int) -> int:
    """How many words to read of the teacher: the student's number.

    A teacher may have a padded vocabulary that is larger; its prefix is used and renormalised.

    Raises:
        ValueError: the teacher's vocabulary is the smaller one.
    """
    if teacher_size < student_size:
        raise ValueError(
            f"the teacher's vocabulary has {teacher_size} words, the student's {student_size}; "
            "the teacher's must be the same or larger (its first words are then used)"
        )
    return student_size
