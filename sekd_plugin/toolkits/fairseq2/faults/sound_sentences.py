"""A batch's loss on the sentences alone on which its teacher is finite."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sekd_plugin.base_criterion import Criterion
from sekd_plugin.distributions import undefined_rows
from sekd_plugin.output import CriterionOutput
from sekd_plugin.ranks import Ranks
from sekd_plugin.rows import TargetRows
from sekd_plugin.teachers import SparseTeacher
from sekd_plugin.toolkits.fairseq2.teacher import TeacherArguments

NOT_FINITE = "the teacher's output is not finite"
INFINITE = "the divergence from the teacher, which rules out a word, is infinite"

LossOn = Callable[[Tensor, TargetRows], CriterionOutput]
"""From a mask of target tokens ``[B, T]``, and where they are, to what a criterion makes of them.

The mask is the batch's own where nothing is left out.
"""


@dataclass(frozen=True)
class SkippedSentence:
    """A sentence that a batch's loss was computed without."""

    row: int
    """Which row of the batch it is."""

    reason: str
    """Why."""


@dataclass(frozen=True)
class TeacherFaults:
    """What of the teacher cannot be learnt from, by target token or by place in the batch."""

    broken: Tensor
    """``[...]`` bool: its output is not finite there."""

    ruled_out: Tensor
    """``[...]`` bool: it gives some word a probability of zero there."""

    @classmethod
    def of_states(cls, states: Tensor) -> TeacherFaults:
        """Of hidden states ``[..., D]``; the fp32 logits of finite ones are finite."""
        low, high = torch.aminmax(states.detach(), dim=-1)
        broken = ~(torch.isfinite(low) & torch.isfinite(high))
        return cls(broken, torch.zeros_like(broken))

    @classmethod
    def of_words(cls, words: Tensor | SparseTeacher) -> TeacherFaults:
        """Of logits ``[..., V']``, or of what stands for them."""
        if isinstance(words, Tensor):
            low = words.detach().amin(dim=-1)
            return cls(undefined_rows(words), torch.isneginf(low))
        listed = words.log_probabilities
        rest = torch.stack([words.log_tail, words.log_gold], dim=-1)
        broken = torch.zeros_like(words.log_tail, dtype=torch.bool)
        for part in (listed, rest):
            broken |= (part.isnan() | torch.isposinf(part)).any(dim=-1)
        return cls(broken, torch.isneginf(words.log_tail) | torch.isneginf(listed).any(dim=-1))

    @classmethod
    def of_arguments(cls, arguments: TeacherArguments) -> TeacherFaults:
        """Of what ``forward_linear`` is given, by place in the batch."""
        if "teacher_hidden" in arguments:
            return cls.of_states(arguments["teacher_hidden"])
        return cls.of_words(arguments["teacher_logits"])

    def take(self, rows: TargetRows) -> TeacherFaults:
        """Of places in the batch, the target tokens ``[n]``."""
        if rows.index is None:
            return TeacherFaults(self.broken.reshape(-1), self.ruled_out.reshape(-1))
        return TeacherFaults(
            self.broken.reshape(-1)[rows.index], self.ruled_out.reshape(-1)[rows.index]
        )


FaultsOn = Callable[[TargetRows], TeacherFaults]
"""From all target tokens of a batch to the teacher's faults on them."""


class SoundSentences:
    """Has the criterion computed without the sentences on which the teacher is not finite.

    They are found before the criterion is called, so that a rank with such a sentence asks nothing
    else of the other ranks than one without. What only the criterion can tell is whether a word
    that the teacher rules out makes a loss infinite. Then its state is put back and it is called
    again, on every rank where it decides over ranks.
    """

    def __init__(self, criterion: Criterion) -> None:
        """Whose loss it is."""
        self._criterion = criterion
        self._skipped: list[SkippedSentence] = []

    def compute(
        self, loss_on: LossOn, mask: Tensor, targets: Tensor, faults: TeacherFaults
    ) -> tuple[CriterionOutput, TargetRows]:
        """What the criterion makes of the sound sentences, and their target tokens.

        Args:
            loss_on: calls the criterion.
            mask: ``[B, T]`` bool, the target tokens of all sentences.
            targets: ``[B, T]`` gold ids.
            faults: the teacher's, on the target tokens of all sentences, ``[n]``.
        """
        kept = TargetRows.of(targets, mask)
        some = mask
        before = self._criterion.get_extra_state()
        troubled, reason = faults.broken, NOT_FINITE
        while True:
            if bool(troubled.any()):
                some = self._leave_out(some, kept.sentences[troubled], reason)
                kept = TargetRows.of(targets, some)
            output = loss_on(some, kept)
            troubled = torch.isinf(output.token_loss) & faults.ruled_out[some[mask]]
            if not self._on_any_rank(bool(troubled.any())):
                return output, kept
            self._criterion.set_extra_state(before)
            reason = INFINITE

    def take(self) -> list[SkippedSentence]:
        """The sentences left out since this was asked last."""
        skipped, self._skipped = self._skipped, []
        return skipped

    def _leave_out(self, mask: Tensor, sentences: Tensor, reason: str) -> Tensor:
        self._skipped += [SkippedSentence(row, reason) for row in sorted(set(sentences.tolist()))]
        return mask.index_fill(0, sentences, False)

    def _on_any_rank(self, found: bool) -> bool:
        """Whether it was found on this rank, or on any whose batch is decided on with this one."""
        criterion = self._criterion
        if not (criterion.gather_over_ranks and criterion.threshold.decides_over_ranks):
            return found
        parts = Ranks(criterion.process_group).gather(torch.tensor([found]))
        return any(bool(part) for part in parts)
