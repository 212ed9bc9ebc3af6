"""Prompt and translation in one sequence: the batches of decoder-only models."""

from __future__ import annotations

from collections.abc import Sequence

from fairseq2.datasets import SequenceBatch
from torch import Tensor

from sekd_plugin.toolkits.fairseq2.batch_form import Inputs, LargestBatch
from sekd_plugin.toolkits.fairseq2.dataset import EncodedCorpus, collate
from sekd_plugin.toolkits.fairseq2.sections import CorpusSection


class PromptedBatches:
    """Batches ``[B, S]`` of prompts, each with its translation behind it."""

    def largest(self, dataset: CorpusSection) -> LargestBatch:
        """All tokens are the decoder's; a longer sentence makes a batch of its own."""
        longest = dataset.max_source_tokens + dataset.max_target_tokens
        return LargestBatch(sources=0, tokens=max(dataset.batch_tokens, longest), longest=longest)

    def widths(self, corpus: EncodedCorpus) -> list[int]:
        """Tokens of each example."""
        return corpus.lengths()

    def collate(
        self, corpus: EncodedCorpus, examples: Sequence[int], pad_index: int
    ) -> SequenceBatch:
        """Examples as one padded batch."""
        return collate(corpus, examples, pad_index)

    def inputs(self, batch: SequenceBatch) -> Inputs:
        """Token ids ``[B, S]`` and their lengths."""
        return batch.as_input()

    def masked(self, batch: SequenceBatch, target_mask: Tensor) -> SequenceBatch:
        """The same batch with another target mask."""
        return SequenceBatch(
            batch.seqs, list(batch.seq_lens), target_mask=target_mask, example=batch.example
        )

    def ids(self, batch: SequenceBatch) -> list[tuple[list[int], list[int]]]:
        """Prompt and target of each example, told apart by the target mask."""
        assert batch.target_mask is not None
        num_targets = batch.target_mask.sum(dim=-1).tolist()
        rows = zip(batch.seqs.tolist(), batch.seq_lens, num_targets, strict=True)
        return [
            (ids[: length - count], ids[length - count : length]) for ids, length, count in rows
        ]


PROMPTED_BATCHES = PromptedBatches()
"""The one there is."""
