"""What a sparse teacher keeps of a row of logits: its likeliest words."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sekd_plugin.checks import at_least, between
from sekd_plugin.distributions import log_probabilities, negative_entropy


@dataclass(frozen=True, kw_only=True)
class Likeliest:
    """Which words of a row are listed: the likeliest ones, and at least one."""

    top_k: int = 32
    """The most words."""

    top_p: float = 1.0
    """Of these, the fewest that have so much probability together; 1 takes all of them."""

    def __post_init__(self) -> None:
        at_least("top_k", self.top_k, 1)
        between("top_p", self.top_p, 0.0, 1.0, open_low=True)


@dataclass(frozen=True, kw_only=True)
class ListedRows:
    """The likeliest words of n rows, and what is left of each row."""

    words: Tensor
    """``[n, k]`` int64, the likeliest first; where a row lists fewer than k words, its first one
    stands again."""

    log_probabilities: Tensor
    """``[n, k]`` fp32 log p; ``-inf`` where a row lists fewer words."""

    log_tail: Tensor
    """``[n]`` fp32, log of the probability of all words that are not listed."""

    log_gold: Tensor
    """``[n]`` fp32, log p of the gold word."""

    negative_entropy: Tensor
    """``[n]`` fp32, Σ p·log p over all words, in nats."""

    @staticmethod
    def joined(parts: Sequence[ListedRows]) -> ListedRows:
        """Rows one after the other; all list as many words at most."""
        return ListedRows(
            **{name: torch.cat([getattr(part, name) for part in parts]) for name in _FIELDS}
        )

    def split(self, counts: Sequence[int]) -> list[ListedRows]:
        """Rows in pieces of so many each."""
        pieces = zip(*(getattr(self, name).split(list(counts)) for name in _FIELDS), strict=True)
        return [ListedRows(**dict(zip(_FIELDS, piece, strict=True))) for piece in pieces]

    def to(self, device: torch.device) -> ListedRows:
        """The same on a device."""
        return ListedRows(**{name: getattr(self, name).to(device) for name in _FIELDS})


_FIELDS = tuple(field.name for field in dataclasses.fields(ListedRows))


@torch.no_grad()
def list_likeliest(
    logits: Tensor, targets: Tensor, temperature: float, likeliest: Likeliest
) -> ListedRows:
    """List the likeliest words of rows of logits.

    Formula:
        p = softmax(t / T); the listed words are the first k of the fewest with Σ p ≥ top_p

    Args:
        logits: t, ``[n, V]``, any floating dtype.
        targets: ``[n]`` gold ids.
        temperature: T.
        likeliest: how many.
    """
    log_p = log_probabilities(logits, temperature)
    found, words = log_p.topk(min(likeliest.top_k, log_p.shape[-1]), dim=-1)
    # A word is left out when those before it have enough already.
    before = found.exp().cumsum(dim=-1) - found.exp()
    left_out = torch.isneginf(found)
    if likeliest.top_p < 1.0:
        left_out |= before >= likeliest.top_p
    left_out[:, 0] = False
    words = torch.where(left_out, words[:, :1], words)
    rest = log_p.scatter(-1, words, -math.inf)
    return ListedRows(
        words=words,
        log_probabilities=found.masked_fill(left_out, -math.inf).float(),
        log_tail=torch.logsumexp(rest, dim=-1).float(),
        log_gold=log_p.gather(-1, targets.unsqueeze(-1)).squeeze(-1).float(),
        negative_entropy=negative_entropy(log_p).float(),
    )
