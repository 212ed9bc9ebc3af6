"""A teacher known by its likeliest words alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sekd_plugin.rows import TargetRows


@dataclass(frozen=True, kw_only=True)
class SparseTeacher:
    """The teacher's likeliest words, the gold word, and what is left in one sum.

    The criterion compares student and target on these words and one more that stands for all
    others, the tail: a true divergence of the coarsened distributions, never above the exact one,
    and equal to it where every word is listed.
    """

    indices: Tensor
    """``[..., k]`` int64, the listed words of a row, all different but where it lists nothing."""

    log_probabilities: Tensor
    """``[..., k]`` log p of the listed words; ``-inf`` at a place that lists nothing."""

    log_tail: Tensor
    """``[...]`` log of the probability of all words that are not listed; ``-inf`` for none."""

    log_gold: Tensor
    """``[...]`` log p of the gold word, listed or not; anything where masked."""

    temperature: float = 1.0
    """T at which p was formed; the criterion's must be the same."""

    def __getitem__(self, rows: slice | Tensor) -> SparseTeacher:
        """Some of the rows ``[n, k]``."""
        return SparseTeacher(
            indices=self.indices[rows],
            log_probabilities=self.log_probabilities[rows],
            log_tail=self.log_tail[rows],
            log_gold=self.log_gold[rows],
            temperature=self.temperature,
        )

    def to(self, device: torch.device) -> SparseTeacher:
        """The same on a device."""
        return SparseTeacher(
            indices=self.indices.to(device),
            log_probabilities=self.log_probabilities.to(device),
            log_tail=self.log_tail.to(device),
            log_gold=self.log_gold.to(device),
            temperature=self.temperature,
        )

    def placed(self, rows: TargetRows) -> SparseTeacher:
        """Rows ``[n, k]`` at their places in the batch, ``[..., k]``; zeros where masked."""
        return SparseTeacher(
            indices=rows.place(self.indices),
            log_probabilities=rows.place(self.log_probabilities),
            log_tail=rows.place(self.log_tail),
            log_gold=rows.place(self.log_gold),
            temperature=self.temperature,
        )

    def take(self, rows: TargetRows, vocabulary: int) -> SparseTeacher:
        """The target rows of a batch, ``[n, k]``, without gradient.

        Raises:
            ValueError: shapes that are not the batch's, or words outside the vocabulary.
        """
        taken = SparseTeacher(
            indices=rows.take(self.indices, "indices"),
            log_probabilities=rows.take(self.log_probabilities.detach(), "log_probabilities"),
            log_tail=rows.take(self.log_tail.detach().unsqueeze(-1), "log_tail").squeeze(-1),
            log_gold=rows.take(self.log_gold.detach().unsqueeze(-1), "log_gold").squeeze(-1),
            temperature=self.temperature,
        )
        if taken.indices.shape != taken.log_probabilities.shape:
            raise ValueError(
                f"indices have the shape {tuple(self.indices.shape)}, log_probabilities "
                f"{tuple(self.log_probabilities.shape)}; they must be equal"
            )
        if taken.indices.numel() > 0:
            low, high = (int(end) for end in torch.aminmax(taken.indices))
            if low < 0 or high >= vocabulary:
                raise ValueError(
                    f"indices hold the word {low if low < 0 else high}, outside the student's "
                    f"vocabulary of {vocabulary}"
                )
        return taken
