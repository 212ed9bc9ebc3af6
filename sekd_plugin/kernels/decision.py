"""Which rows are hard, while a batch goes by in chunks."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sekd_plugin.kernels.row_kernel import Decide
from sekd_plugin.thresholds import implied_gamma

DecideBatch = Callable[[Tensor, Tensor], Tensor]
"""From difficulties ``[n]`` and the numbers of their sentences to which are hard, ``[n]`` bool."""


class Decision:
    """The decision where Γ is known beforehand: each chunk's is final."""

    def __init__(self, decide: DecideBatch, sentences: Tensor) -> None:
        """Decide on a batch.

        Args:
            decide: the threshold's decision.
            sentences: ``[n]`` int64, the number of each row's sentence.
        """
        self._decide = decide
        self._sentences = sentences

    def on(self, rows: slice) -> Decide:
        """The decision on a range of rows; ranges come in order, each once."""
        return lambda difficulty: self._decide(difficulty, self._sentences[rows])

    def settle(self, difficulty: Tensor, hard: Tensor) -> Tensor:
        """What holds in the end, ``[n]`` bool, given all difficulties and what was decided."""
        return hard


class BatchDecision(Decision):
    """The decision where all of the batch's difficulties must be seen first.

    A second pass over the vocabulary for every row would cost most of the first again. So each
    chunk is decided on by a guess, and only rows on which the guess was wrong are done again. The
    guess is the Γ that the threshold would imply if the rest of the batch were like the rows seen
    so far; it is made anew whenever their number has doubled. It is of this batch alone, so
    results hang on no earlier one.
    """

    def __init__(self, decide: DecideBatch, sentences: Tensor) -> None:
        super().__init__(decide, sentences)
        self._seen: list[Tensor] = []
        self._num_seen = 0
        self._num_at_guess = 0
        self._gamma = float("inf")

    def on(self, rows: slice) -> Decide:
        """A guess on a range of rows; exact where the range is the whole batch."""

        def decide(difficulty: Tensor) -> Tensor:
            if difficulty.numel() == self._sentences.numel():
                return self._decide(difficulty, self._sentences)
            self._seen.append(difficulty)
            self._num_seen += difficulty.numel()
            if self._num_seen >= 2 * self._num_at_guess:
                self._gamma = self._guess()
                self._num_at_guess = self._num_seen
            return difficulty > self._gamma

        return decide

    def settle(self, difficulty: Tensor, hard: Tensor) -> Tensor:
        """The threshold's own decision."""
        return self._decide(difficulty, self._sentences)

    def _guess(self) -> float:
        """Γ, if the batch were the rows seen so far, over and over."""
        seen = torch.cat(self._seen)
        self._seen = [seen]
        number = torch.arange(self._sentences.numel(), device=seen.device)
        place, turn = number % seen.numel(), number // seen.numel()
        sentences = self._sentences[place]
        difficulty = seen[place]
        hard = self._decide(difficulty, sentences + turn * (self._sentences[-1] + 1))
        return implied_gamma(difficulty, hard)
