"""What every way to put sentence pairs into batches has in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from fairseq2.datasets import Seq2SeqBatch, SequenceBatch
from torch import Tensor

from sekd_plugin.toolkits.fairseq2.dataset import EncodedCorpus
from sekd_plugin.toolkits.fairseq2.sections import CorpusSection

Batch = SequenceBatch | Seq2SeqBatch
"""Sentence pairs, padded."""

Inputs = tuple[Any, ...]
"""What a model's forward takes of a batch: token ids and their lengths, once or twice."""


@dataclass(frozen=True, kw_only=True)
class LargestBatch:
    """The most that a batch holds, padding included."""

    sources: int
    """Tokens that an encoder reads; 0 without one."""

    tokens: int
    """Tokens that a decoder reads."""

    longest: int
    """Tokens of the longest sequence of either."""


class BatchForm(Protocol):
    """How encoded pairs become batches, and batches what a model reads."""

    def largest(self, dataset: CorpusSection) -> LargestBatch:
        """The most that a batch holds, by a recipe's limits; nothing is read."""
        ...

    def widths(self, corpus: EncodedCorpus) -> list[int]:
        """How much room each example takes in a batch.

        Examples whose widths are at most w take at most w tokens each, padding included.
        """
        ...

    def collate(self, corpus: EncodedCorpus, examples: Sequence[int], pad_index: int) -> Batch:
        """Examples as one padded batch whose target mask is True on what is learnt."""
        ...

    def inputs(self, batch: Any) -> Inputs:
        """What a model reads of a batch that ``as_auto_regressive`` has trimmed."""
        ...

    def masked(self, batch: Any, target_mask: Tensor) -> Batch:
        """The same batch with another target mask."""
        ...

    def ids(self, batch: Any) -> list[tuple[list[int], list[int]]]:
        """:meth:`EncodedCorpus.ids` of the examples of a batch."""
        ...
