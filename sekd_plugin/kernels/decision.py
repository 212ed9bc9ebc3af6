"""Which rows are hard, while a batch goes by in chunks."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sekd_plugin.kernels.row_kernel import Decide
from sekd_plugin.ranks import Ranks
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

    def whole(self, difficulty: Tensor) -> Tensor:
        """What holds in the end, ``[n]`` bool, where all difficulties are there at once."""
        return self._decide(difficulty, self._sentences)

    def implied_gamma(self, difficulty: Tensor, hard: Tensor) -> float:
        """The Γ that the decision amounts to, given all difficulties and what holds in the end."""
        return implied_gamma(difficulty, hard)


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
        self._num_rows = sentences.numel()
        self._seen: list[Tensor] = []
        self._num_seen = 0
        self._num_at_guess = 0
        self._gamma = float("inf")

    def on(self, rows: slice) -> Decide:
        """A guess on a range of rows; exact where the range is the whole batch."""

        def decide(difficulty: Tensor) -> Tensor:
            if difficulty.numel() == self._num_rows:
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
        return self.whole(difficulty)

    def _guess(self) -> float:
        """Γ, if the batch were the rows seen so far, over and over."""
        seen = torch.cat(self._seen)
        self._seen = [seen]
        number = torch.arange(self._num_rows, device=seen.device)
        place, turn = number % seen.numel(), number // seen.numel()
        sentences = self._sentences[place]
        difficulty = seen[place]
        hard = self._decide(difficulty, sentences + turn * (self._sentences[-1] + 1))
        return implied_gamma(difficulty, hard)


class RanksDecision(BatchDecision):
    """The decision where the batches of all ranks are one.

    A guess is each rank's own: it takes the other ranks' rows to be like those that this one has
    seen. Only the end brings difficulties together, in one gathering for a batch, which a rank
    without rows takes part in as well.
    """

    def __init__(self, decide: DecideBatch, sentences: Tensor, ranks: Ranks) -> None:
        """Decide on this rank's batch together with all others'.

        Args:
            decide: the threshold's decision, on the rows of all ranks, in order of rank.
            sentences: ``[n]`` int64, the number of each of this rank's rows' sentence.
            ranks: two or more.
        """
        super().__init__(decide, sentences)
        self._ranks = ranks
        self._num_rows = sentences.numel() * ranks.number
        self._gamma_of_all = float("inf")

    def whole(self, difficulty: Tensor) -> Tensor:
        """This rank's part of the decision on all ranks' rows; every rank must ask for it."""
        begins = torch.ones_like(self._sentences, dtype=torch.bool)
        begins[1:] = self._sentences[1:] != self._sentences[:-1]
        # In float64, which holds them both, and is the same on a rank without rows.
        rows = torch.stack([difficulty.detach().double(), begins.double()], dim=-1)
        parts = self._ranks.gather(rows)
        of_all, begins_of_all = torch.cat(parts).to(difficulty.device).T.contiguous()
        of_all = of_all.to(difficulty.dtype)
        hard = self._decide(of_all, begins_of_all.long().cumsum(0) - 1)
        self._gamma_of_all = implied_gamma(of_all, hard)
        first = sum(len(part) for part in parts[: self._ranks.own])
        return hard[first : first + difficulty.numel()]

    def implied_gamma(self, difficulty: Tensor, hard: Tensor) -> float:
        """The Γ that the decision on all ranks' rows amounts to, the same on each."""
        return self._gamma_of_all
