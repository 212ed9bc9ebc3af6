"""Listed rows as few bytes: how a token is kept in a cache.

A word takes 2 bytes, or 3 where the vocabulary is larger than 65,536. Its probability takes 2: the
places on a line from log p = 0 down to the least likely listed word, which is off by at most half
a place, ``|log p of the least| / 131,070`` (1.5e-4 where that word has a probability of e⁻²⁰). With
32 bits it is kept as it is. Beside its words a token has its number of words, 2 bytes, and four
fp32 numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from sekd_plugin.teachers.likeliest import ListedRows
from sekd_plugin.teachers.sparse import SparseTeacher

_PLACES = 65_535
_TWO_BYTES = 65_536

PER_TOKEN = ("num_words", "log_tail", "log_gold", "negative_entropy", "least")
"""The tensors with one number a token."""

PER_WORD = ("words", "probabilities")
"""The tensors with one number a listed word."""

PROBABILITY_BITS = (16, 32)
"""How many bits a probability may take."""


def bytes_per_token(num_words: float, vocabulary: int, probability_bits: int) -> float:
    """Bytes of a token with so many listed words."""
    word = 2 if vocabulary <= _TWO_BYTES else 3
    return num_words * (word + probability_bits // 8) + 2 + 4 * 4


def pack_rows(rows: ListedRows, vocabulary: int, probability_bits: int) -> dict[str, Tensor]:
    """Tensors over the n tokens, and over all their listed words one after the other.

    Args:
        rows: n tokens.
        vocabulary: V, the teacher's number of words.
        probability_bits: 16 or 32.
    """
    listed = ~torch.isneginf(rows.log_probabilities)
    least = rows.log_probabilities.masked_fill(~listed, 0.0).amin(dim=-1)
    values = rows.log_probabilities[listed]
    if probability_bits == 16:
        steps = (least / -_PLACES).unsqueeze(-1).expand_as(rows.log_probabilities)[listed]
        places = (-values / steps).nan_to_num_(nan=0.0).round_().clamp_(0, _PLACES)
        values = places.to(torch.int32).to(torch.uint16)
    return {
        "num_words": listed.sum(dim=-1).to(torch.int32).to(torch.uint16),
        "log_tail": rows.log_tail,
        "log_gold": rows.log_gold,
        "negative_entropy": rows.negative_entropy,
        "least": least,
        "words": _pack_words(rows.words[listed], vocabulary),
        "probabilities": values,
    }


def unpack_rows(packed: Mapping[str, Tensor], temperature: float) -> SparseTeacher:
    """Tokens as a sparse teacher ``[n, k]``, k the most words that one of them lists.

    Args:
        packed: what :func:`pack_rows` gave, or a range of tokens and of their words.
        temperature: T at which p was formed.
    """
    num_words = packed["num_words"].to(torch.int64)
    most = int(num_words.max()) if num_words.numel() > 0 else 0
    listed = torch.arange(most) < num_words.unsqueeze(-1)
    flat = _unpack_words(packed["words"])
    words = torch.zeros(listed.shape, dtype=torch.int64)
    words[listed] = flat
    words = torch.where(listed, words, words[:, :1])
    values = packed["probabilities"]
    if values.dtype == torch.uint16:
        steps = (packed["least"] / _PLACES).repeat_interleave(num_words)
        values = values.to(torch.int32) * steps
    log_probabilities = torch.full(listed.shape, -math.inf)
    log_probabilities[listed] = values
    return SparseTeacher(
        indices=words,
        log_probabilities=log_probabilities,
        log_tail=packed["log_tail"],
        log_gold=packed["log_gold"],
        temperature=temperature,
    )


def _pack_words(words: Tensor, vocabulary: int) -> Tensor:
    """``[m]`` int64 → ``[m]`` uint16, or ``[m, 3]`` uint8 from the lowest byte to the highest."""
    if vocabulary <= _TWO_BYTES:
        return words.to(torch.int32).to(torch.uint16)
    return torch.stack([words & 255, (words >> 8) & 255, words >> 16], dim=-1).to(torch.uint8)


def _unpack_words(packed: Tensor) -> Tensor:
    if packed.dtype == torch.uint16:
        return packed.to(torch.int64)
    low, middle, high = packed.to(torch.int64).unbind(dim=-1)
    return low | middle << 8 | high << 16
