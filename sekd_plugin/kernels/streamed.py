"""Rows read as a stream: two passes over the logits, and one more over those of hard rows."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from sekd_plugin.kernels.division import Division
from sekd_plugin.kernels.forward_kl import Settings
from sekd_plugin.kernels.passes import Passes
from sekd_plugin.kernels.row_kernel import Decide, RowKernel, RowLosses, TeacherRows, dense
from sekd_plugin.kernels.vocabulary_shards import add_up, merge


class StreamedRows(RowKernel):
    """Forward KL as the loss and as the difficulty, with the linear proxy.

    Args:
        settings: the criterion.
        passes: a module or an object with the passes over logits.
        hard_scale: what a hard row's loss is multiplied by.
        division: how the rows' words are divided among ranks, if they are; gold ids count over all
            words, and every rank of the group calls this with the same rows.
    """

    streams: ClassVar[bool] = True

    def __init__(
        self,
        settings: Settings,
        passes: Passes,
        *,
        hard_scale: float,
        division: Division | None = None,
    ) -> None:
        self._settings = settings
        self._passes = passes
        self._hard_scale = hard_scale
        self._division = division

    @torch.no_grad()
    def losses(
        self,
        student: Tensor,
        teacher: TeacherRows,
        targets: Tensor,
        decide: Decide,
        gradient: Tensor | None,
    ) -> RowLosses:
        """Statistics, decision, the hard rows' sums, gradient; ``gradient`` may be ``student``."""
        settings, passes, division = self._settings, self._passes, self._division
        given = dense(teacher)
        # Without a teacher, any distribution with the weight 0 will do.
        logits, weight = (student, 0.0) if given is None else (given, settings.teacher_weight)
        temperature, beta = settings.temperature, settings.beta
        first_word = 0 if division is None else division.words.start
        partial = passes.statistics(
            student, logits, targets, temperature=temperature, first_word=first_word
        )
        if division is not None:
            partial = merge(partial, division.group)
        seen = passes.finish(partial, teacher_weight=weight)
        hard = decide(seen.difficulty)
        rows = hard.nonzero().squeeze(-1)
        squared = temperature**2 if settings.temperature_squared else 1.0
        token_loss, mean = seen.difficulty * squared, torch.zeros_like(seen.difficulty)
        if rows.numel() > 0 and beta == 1.0:
            token_loss[rows] *= self._hard_scale
        elif rows.numel() > 0:
            sums = passes.hard_sums(
                student,
                logits,
                targets,
                seen,
                rows,
                teacher_weight=weight,
                beta=beta,
                temperature=temperature,
                first_word=first_word,
            )
            hard_loss, mean[rows] = sums if division is None else add_up(sums, division.group)
            token_loss[rows] = hard_loss * (self._hard_scale * squared)
        if gradient is not None:
            passes.gradient(
                student,
                logits,
                targets,
                seen,
                hard,
                mean,
                teacher_weight=weight,
                beta=beta,
                temperature=temperature,
                first_word=first_word,
                slope=squared / temperature,
                hard_scale=self._hard_scale,
                out=gradient,
            )
        return RowLosses(
            token_loss=token_loss,
            difficulty=seen.difficulty,
            hard=hard,
            cross_entropy=seen.cross_entropy,
            agreement=None if given is None else seen.agreement,
        )
