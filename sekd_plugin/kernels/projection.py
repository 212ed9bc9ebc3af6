"""The output projection: from hidden states to logits, and the gradient's way back."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import linear

from sekd_plugin.checks import between


def factor_dtype(states: Tensor) -> torch.dtype:
    """The dtype to multiply in: the states' own, or on a CPU fp32 at least.

    Few CPUs multiply in half precision; the others take many times as long for it.
    """
    wide = torch.promote_types(states.dtype, torch.float32)
    return states.dtype if states.is_cuda else wide


class ChunkRoom:
    """Memory for one chunk of rows, used again for the next.

    A fresh block of this size is fresh pages of the system; for a CPU, being given them takes as
    long as some passes over them.
    """

    def __init__(self) -> None:
        self._block: Tensor | None = None

    def take(self, num_rows: int, num_words: int, like: Tensor, dtype: torch.dtype) -> Tensor:
        """``[num_rows, num_words]`` with anything in it, until the next call; beside ``like``."""
        size = num_rows * num_words
        block = self._block
        if block is None or block.numel() < size or block.dtype != dtype:
            self._block = None  # given back before the larger one is asked for
            block = self._block = like.new_empty(size, dtype=dtype)
        return block[:size].view(num_rows, num_words)


@dataclass(frozen=True, kw_only=True)
class Projection:
    """A model's output projection.

    Formula:
        a = scale·(h·Wᵀ + b); z = a, or c·tanh(a / c) with a soft cap c
    """

    weight: Tensor
    """W, ``[V, D]``; a shard of the words' rows under a vocabulary group."""

    bias: Tensor | None = None
    """b, ``[V]``."""

    scale: float = 1.0
    """What the logits are multiplied by."""

    soft_cap: float | None = None
    """c > 0, which no logit exceeds in size."""

    def __post_init__(self) -> None:
        if self.soft_cap is not None:
            between("soft_cap", self.soft_cap, 0.0, float("inf"), open_low=True, open_high=True)

    @property
    def size(self) -> int:
        """V, the number of words."""
        return self.weight.shape[0]

    def frozen(self, words: int | None = None, dtype: torch.dtype | None = None) -> Projection:
        """The same without gradient: of the first ``words`` words alone, in another dtype."""
        bias = None if self.bias is None else self.bias.detach()[:words]
        return Projection(
            weight=self.weight.detach()[:words].to(dtype),
            bias=None if bias is None else bias.to(torch.promote_types(bias.dtype, torch.float32)),
            scale=self.scale,
            soft_cap=self.soft_cap,
        )

    def logits(self, states: Tensor, room: ChunkRoom | None = None) -> Tensor:
        """z of hidden states, ``[r, D]`` → ``[r, V]``, in fp32 or wider.

        Half-precision factors give fp32 products here: rounded to bf16, a logit above 16 is off by
        up to 1/16, and its word's probability by 6 %.

        Args:
            states: ``[r, D]``.
            room: where they may be put, without autograd; None differentiates.
        """
        if room is not None and self._multiplies_plainly(states):
            return self._put_into(room, states)
        logits = self._products(states)
        if self.scale != 1.0:
            logits = logits * self.scale
        if self.soft_cap is not None:
            logits = torch.tanh(logits / self.soft_cap) * self.soft_cap
        return logits

    @torch.no_grad()
    def _put_into(self, room: ChunkRoom, states: Tensor) -> Tensor:
        wide = torch.promote_types(states.dtype, torch.float32)
        logits = room.take(states.shape[0], self.size, states, wide)
        factors = states.to(wide), self.weight.to(wide).t()
        if self.bias is None:
            torch.mm(*factors, out=logits)
        else:
            torch.addmm(self.bias.to(wide), *factors, out=logits)
        if self.scale != 1.0:
            logits.mul_(self.scale)
        if self.soft_cap is not None:
            logits.div_(self.soft_cap).tanh_().mul_(self.soft_cap)
        return logits

    def _multiplies_plainly(self, states: Tensor) -> bool:
        """Whether factors and product are of one dtype; in autocast it is torch that chooses."""
        return not (self._widens(states) or torch.is_autocast_enabled(states.device.type))

    def _widens(self, states: Tensor) -> bool:
        """Whether the device multiplies half-precision factors into fp32 by itself."""
        wide = torch.promote_types(states.dtype, torch.float32)
        return self.weight.is_cuda and self.weight.dtype == states.dtype != wide

    def _products(self, states: Tensor) -> Tensor:
        wide = torch.promote_types(states.dtype, torch.float32)
        if self._widens(states):
            products = torch.mm(states, self.weight.t(), out_dtype=wide)
            return products if self.bias is None else products.add_(self.bias)
        bias = None if self.bias is None else self.bias.to(wide)
        return linear(states.to(wide), self.weight.to(wide), bias)

    def pull_back(self, slope: Tensor, logits: Tensor) -> Tensor:
        """From the gradient by z to that by h·Wᵀ + b, in place: ``[r, V]``.

        Args:
            slope: the gradient by ``logits``.
            logits: z, as :meth:`logits` gave it.
        """
        if self.soft_cap is not None:
            slope.addcmul_(slope, (logits / self.soft_cap).square_(), value=-1.0)
        return slope if self.scale == 1.0 else slope.mul_(self.scale)
