"""Sentence pairs as one padded batch for an encoder and a decoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from fairseq2.datasets import Seq2SeqBatch
from torch import Tensor

from sekd_plugin.toolkits.fairseq2.batch_form import Inputs, LargestBatch
from sekd_plugin.toolkits.fairseq2.dataset import EncodedCorpus
from sekd_plugin.toolkits.fairseq2.sections import CorpusSection
from sekd_plugin.toolkits.fairseq2.sequence_to_sequence.encoding import PREFIX_TOKENS
from sekd_plugin.toolkits.fairseq2.sequence_to_sequence.student import model_inputs


def collate_pairs(
    sources: Sequence[Sequence[int]],
    targets: Sequence[Sequence[int]],
    *,
    prefixes: Sequence[Sequence[int]],
    pad_index: int,
    places: object = None,
) -> Seq2SeqBatch:
    """A batch whose target mask is True on the words to be learnt, the end among them.

    Args:
        sources: ids of each source.
        targets: ids of each target, without the prefix.
        prefixes: what the decoder is given before each target; never learnt.
        pad_index: what fills the rows up.
        places: file and line of each pair.

    Returns:
        sources ``[B, S]``, targets ``[B, T]`` with the prefix, mask ``[B, T]``.
    """
    whole = [[*prefix, *target] for prefix, target in zip(prefixes, targets, strict=True)]
    target_seqs, target_lens = _padded(whole, pad_index)
    source_seqs, source_lens = _padded(sources, pad_index)
    places_of_words = torch.arange(target_seqs.shape[1])
    begins = torch.tensor([len(prefix) for prefix in prefixes])[:, None]
    ends = torch.tensor(target_lens)[:, None]
    mask = (places_of_words >= begins) & (places_of_words < ends)
    return Seq2SeqBatch(
        source_seqs, source_lens, target_seqs, target_lens, target_mask=mask, example=places
    )


class PairBatches:
    """Batches of sources ``[B, S]`` for an encoder and of targets ``[B, T]`` for a decoder."""

    def largest(self, dataset: CorpusSection) -> LargestBatch:
        """Half of the tokens are the encoder's; a longer pair makes a batch of its own."""
        longest = max(dataset.max_source_tokens, PREFIX_TOKENS + dataset.max_target_tokens)
        side = max(dataset.batch_tokens // 2, longest)
        return LargestBatch(sources=side, tokens=side, longest=longest)

    def widths(self, corpus: EncodedCorpus) -> list[int]:
        """Twice the longer one of source and target: both are padded, each to its own length."""
        return [
            2 * max(len(source), len(corpus.prefix(example)) + len(target))
            for example, (source, target) in enumerate(
                zip(corpus.prompts, corpus.targets, strict=True)
            )
        ]

    def collate(
        self, corpus: EncodedCorpus, examples: Sequence[int], pad_index: int
    ) -> Seq2SeqBatch:
        """Examples as one padded batch."""
        return collate_pairs(
            [corpus.prompts[example] for example in examples],
            [corpus.targets[example] for example in examples],
            prefixes=[corpus.prefix(example) for example in examples],
            pad_index=pad_index,
            places=[corpus.places[example] for example in examples],
        )

    def inputs(self, batch: Seq2SeqBatch) -> Inputs:
        """Source ids, target ids, and the lengths of each."""
        return model_inputs(batch)

    def masked(self, batch: Seq2SeqBatch, target_mask: Tensor) -> Seq2SeqBatch:
        """The same batch with another target mask."""
        return Seq2SeqBatch(
            batch.source_seqs,
            list(batch.source_seq_lens),
            batch.target_seqs,
            list(batch.target_seq_lens),
            target_mask=target_mask,
            example=batch.example,
        )

    def ids(self, batch: Seq2SeqBatch) -> list[tuple[list[int], list[int]]]:
        """Source and target of each example, the prefix among the target."""
        sources = zip(batch.source_seqs.tolist(), batch.source_seq_lens, strict=True)
        targets = zip(batch.target_seqs.tolist(), batch.target_seq_lens, strict=True)
        return [
            (source[:source_length], target[:target_length])
            for (source, source_length), (target, target_length) in zip(
                sources, targets, strict=True
            )
        ]


PAIR_BATCHES = PairBatches()
"""The one there is."""


def _padded(rows: Sequence[Sequence[int]], pad_index: int) -> tuple[Tensor, list[int]]:
    lengths = [len(row) for row in rows]
    seqs = torch.full((len(rows), max(lengths)), pad_index, dtype=torch.int64)
    for row, words in enumerate(rows):
        seqs[row, : len(words)] = torch.tensor(words)
    return seqs, lengths
