"""Gradients formed in the forward pass: how they are summed, and handed to autograd."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def learning(*sources: Tensor | None) -> tuple[Tensor | None, ...]:
    """The sources of the loss, detached where gradients are off: then none are formed."""
    if torch.is_grad_enabled():
        return sources
    return tuple(None if source is None else source.detach() for source in sources)


class FromLogits(torch.autograd.Function):
    """A loss of logits: ``run`` computes it, and writes its gradient into the block it is given."""

    @staticmethod
    def forward(
        ctx: Any, student: Tensor, run: Callable[[Tensor, Tensor | None], Tensor]
    ) -> Tensor:
        """The loss; the gradient is formed here too, where one is wanted."""
        gradient = None
        if ctx.needs_input_grad[0]:
            gradient = torch.empty_like(student, dtype=_kept_dtype(student.dtype))
        loss = run(student.detach(), gradient)
        ctx.gradient = None if gradient is None else _Handover(gradient, student.dtype)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, None]:
        """Hand the gradient on."""
        return None if ctx.gradient is None else ctx.gradient.times(upstream), None


class FromHidden(torch.autograd.Function):
    """A loss of hidden states, weight and bias: ``run`` computes it and its :class:`Gradients`."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        run: Callable[[Tensor, Gradients], Tensor],
    ) -> Tensor:
        """The loss; the gradients are formed here too, where they are wanted."""
        needed = ctx.needs_input_grad
        gradients = Gradients(
            torch.empty_like(hidden, dtype=_kept_dtype(hidden.dtype)) if needed[0] else None,
            _zeros_for_sum(weight) if needed[1] else None,
            _zeros_for_sum(bias) if needed[2] and bias is not None else None,
        )
        loss = run(hidden.detach(), gradients)
        formed = ((gradients.hidden, hidden), (gradients.weight, weight), (gradients.bias, bias))
        ctx.gradients = [
            None if gradient is None or source is None else _Handover(gradient, source.dtype)
            for gradient, source in formed
        ]
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        """Hand the gradients on."""
        found = [None if each is None else each.times(upstream) for each in ctx.gradients]
        return (*found, None)


def _kept_dtype(dtype: torch.dtype) -> torch.dtype:
    """What a gradient is kept in until the backward pass multiplies it by the loss's scale.

    fp16 has no room for a small gradient before it is scaled: that is what scaling is for.
    """
    return torch.float32 if dtype == torch.float16 else dtype


def _zeros_for_sum(parameter: Tensor) -> Tensor:
    """Zeros to sum a parameter's gradient in, fp32 or wider."""
    return torch.zeros_like(parameter, dtype=torch.promote_types(parameter.dtype, torch.float32))


class _Handover:
    """A gradient formed in the forward pass, to be handed on, times the upstream one.

    The first backward pass with the factor 1 gets the very tensor, for a copy would double the
    memory; autograd may then keep or change it. A later pass over a retained graph gets a copy,
    or an error where the tensor has been changed meanwhile.
    """

    def __init__(self, gradient: Tensor, dtype: torch.dtype) -> None:
        self._gradient = gradient
        self._dtype = dtype
        self._version: int | None = None

    def times(self, upstream: Tensor) -> Tensor:
        """The gradient times ``upstream``, a scalar, in the dtype of what it is the gradient of."""
        if self._version is not None:
            if self._gradient._version != self._version:
                raise RuntimeError(
                    "the gradient of this loss was handed on, and has been changed in place since; "
                    "compute the loss again for another backward pass"
                )
            self._gradient, self._version = self._gradient.clone(), None
        # A Python number: rounded to bf16 first, it would shift every element alike.
        factor = float(upstream)
        if factor != 1.0:
            return (self._gradient * factor).to(self._dtype)
        result = self._gradient.to(self._dtype)
        if result is self._gradient:
            self._version = result._version
        return result


class Gradients:
    """The gradients by hidden states, weight and bias, summed up chunk by chunk.

    Each is None where none is wanted. Those of the parameters are summed in fp32 or wider.
    """

    def __init__(self, hidden: Tensor | None, weight: Tensor | None, bias: Tensor | None) -> None:
        self.hidden = hidden
        self.weight = weight
        self.bias = bias
        self.wanted = not (hidden is None and weight is None and bias is None)

    def by_hidden_rows(self, rows: slice | Tensor, slope: Tensor, weight: Tensor) -> None:
        """Set the gradient by some hidden states from that by their logits: ``[r, V]``."""
        if self.hidden is not None:
            self.hidden[rows] = _through(slope, weight)

    def by_parameters(self, slope: Tensor, states: Tensor) -> None:
        """Add what rows with the gradient ``slope [r, V]`` and these states contribute."""
        if self.weight is not None:
            _add_product(self.weight, slope, states)
        if self.bias is not None:
            self.bias.add_(slope.sum(0, dtype=self.bias.dtype))


def _add_product(total: Tensor, slope: Tensor, states: Tensor) -> None:
    """total += slopeᵀ·states, in the total's dtype: ``[V, D]``."""
    if total.is_cuda and states.dtype != slope.dtype:
        # Half-precision factors and an fp32 sum, which is what tensor cores do.
        narrow, scale = narrowed(slope, states.dtype)
        product = torch.mm(narrow.t(), states, out_dtype=torch.float32)
        total.add_(product.to(total.dtype), alpha=scale)
        return
    total.addmm_(slope.t().to(total.dtype), states.to(total.dtype))


def _through(slope: Tensor, weight: Tensor) -> Tensor:
    """The gradient by the hidden states, from that by the logits ``[r, V]``: ``[r, D]``."""
    narrow, scale = narrowed(slope, weight.dtype)
    product = (narrow @ weight).to(slope.dtype)
    return product if scale == 1.0 else product.mul_(scale)


def narrowed(slope: Tensor, dtype: torch.dtype) -> tuple[Tensor, float]:
    """A gradient in another dtype, and what to multiply by to have it back.

    fp16 has no room for small gradients: they are divided by a power of two of the greatest's
    size, which rounds nothing.
    """
    greatest = 0.0
    if dtype == torch.float16 and slope.numel() > 0:
        greatest = float(slope.abs().amax())
    if not 0.0 < greatest < math.inf:
        return slope.to(dtype), 1.0
    scale = 2.0 ** math.ceil(math.log2(greatest))
    return (slope / scale).to(dtype), scale
