"""What is measured of every target token."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Likely:
    """A model's likeliest words for n tokens."""

    words: Tensor
    """``[n, k]`` int32 ids, the likeliest first."""

    probabilities: Tensor
    """``[n, k]`` fp32, theirs."""

    log_gold: Tensor
    """``[n]`` fp32, the log-probability of the gold word; it may be -inf."""

    def chosen(self, rows: Tensor) -> Likely:
        """Some of the tokens."""
        return Likely(
            words=self.words[rows],
            probabilities=self.probabilities[rows],
            log_gold=self.log_gold[rows],
        )

    @staticmethod
    def joined(parts: Sequence[Likely]) -> Likely:
        """Tokens one after the other."""
        return Likely(
            words=torch.cat([part.words for part in parts]),
            probabilities=torch.cat([part.probabilities for part in parts]),
            log_gold=torch.cat([part.log_gold for part in parts]),
        )


@dataclass(frozen=True, kw_only=True)
class TokenTable:
    """What was measured of n target tokens, on the CPU."""

    difficulty: Mapping[str, Tensor]
    """Divergence → d = D(ỹ ‖ q) of each token, ``[n]`` fp32."""

    entropy: Tensor
    """``[n]`` fp32, H(p) = −Σ p·log p of the teacher, in nats."""

    teacher: Likely
    """What the teacher holds likely."""

    student: Likely
    """What the student holds likely."""

    @property
    def num_tokens(self) -> int:
        """N."""
        return self.entropy.numel()

    def chosen(self, rows: Tensor) -> TokenTable:
        """Some of the tokens, or all in another order."""
        return dataclasses.replace(
            self,
            difficulty={name: values[rows] for name, values in self.difficulty.items()},
            entropy=self.entropy[rows],
            teacher=self.teacher.chosen(rows),
            student=self.student.chosen(rows),
        )

    @staticmethod
    def joined(parts: Sequence[TokenTable]) -> TokenTable:
        """Tokens one after the other; all parts measure the same divergences."""
        return TokenTable(
            difficulty={
                name: torch.cat([part.difficulty[name] for part in parts])
                for name in parts[0].difficulty
            },
            entropy=torch.cat([part.entropy for part in parts]),
            teacher=Likely.joined([part.teacher for part in parts]),
            student=Likely.joined([part.student for part in parts]),
        )


def write_rows(whole: TokenTable, rows: Tensor, part: TokenTable) -> None:
    """Write ``part`` into ``whole``, in place, at the places ``rows``."""
    for target, source in zip(_tensors(whole), _tensors(part), strict=True):
        target[rows] = source


def _tensors(table: TokenTable) -> list[Tensor]:
    found = [*table.difficulty.values(), table.entropy]
    for likely in (table.teacher, table.student):
        found += [likely.words, likely.probabilities, likely.log_gold]
    return found


@dataclass(frozen=True, kw_only=True)
class TokenPlaces:
    """Where the n target tokens of a development set stand, sentence by sentence."""

    targets: Tensor
    """``[n]`` int64, the gold ids."""

    sentences: Tensor
    """``[n]`` int64, the number of each token's sentence, from 0, never decreasing."""

    positions: Tensor
    """``[n]`` int64, its place in its sentence, from 0."""

    lengths: Tensor
    """``[n]`` int64, the number of target tokens of its sentence."""

    starts_word: Tensor
    """``[n]`` bool, whether the piece is the first of a word."""

    is_end: Tensor
    """``[n]`` bool, whether it is the end of the sentence, which is no word."""
