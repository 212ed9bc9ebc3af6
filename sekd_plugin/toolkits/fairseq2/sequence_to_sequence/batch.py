"""Sentence pairs as one padded batch for an encoder and a decoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from fairseq2.datasets import Seq2SeqBatch
from torch import Tensor


def collate_pairs(
    sources: Sequence[Sequence[int]],
    targets: Sequence[Sequence[int]],
    *,
    prefix: Sequence[int],
    pad_index: int,
    places: object = None,
) -> Seq2SeqBatch:
    """A batch whose target mask is True on the words to be learnt, the end among them.

    Args:
        sources: ids of each source.
        targets: ids of each target, without the prefix.
        prefix: what the decoder is given before each target; never learnt.
        pad_index: what fills the rows up.
        places: file and line of each pair.

    Returns:
        sources ``[B, S]``, targets ``[B, T]`` with the prefix, mask ``[B, T]``.
    """
    whole = [[*prefix, *target] for target in targets]
    target_seqs, target_lens = _padded(whole, pad_index)
    source_seqs, source_lens = _padded(sources, pad_index)
    places_of_words = torch.arange(target_seqs.shape[1])
    mask = (places_of_words >= len(prefix)) & (places_of_words < torch.tensor(target_lens)[:, None])
    return Seq2SeqBatch(
        source_seqs, source_lens, target_seqs, target_lens, target_mask=mask, example=places
    )


def _padded(rows: Sequence[Sequence[int]], pad_index: int) -> tuple[Tensor, list[int]]:
    lengths = [len(row) for row in rows]
    seqs = torch.full((len(rows), max(lengths)), pad_index, dtype=torch.int64)
    for row, words in enumerate(rows):
        seqs[row, : len(words)] = torch.tensor(words)
    return seqs, lengths
