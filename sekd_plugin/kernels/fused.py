"""Rows by the chunk, gradients formed in the forward pass, memory bounded by bytes.

Two sizes of chunk: from hidden states, logits are formed for ``logits_bytes`` at a time, large
enough for an efficient matrix product; over logits, the kernel works on ``cache_bytes`` at a
time, small enough for its passes to find the rows in the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear

from sekd_plugin.kernels.row_kernel import Decide, RowKernel, RowLosses

ChunkDecide = Callable[[slice], Decide]
"""From a range of the n rows to the decision on them."""

Rows = slice | Tensor
"""Some of the n rows: a range, or their numbers."""

RowsOf = Callable[[Rows], Tensor]
"""From some of the n rows to the student's logits on them."""

TeacherLogits = Callable[[Rows], Tensor | None]
"""Likewise to the teacher's, or None without one."""


@dataclass(frozen=True, kw_only=True)
class ChunkBytes:
    """How much is worked on at a time."""

    logits_bytes: int = 64 * 2**20
    """fp32 student logits that are formed at a time, from hidden states."""

    cache_bytes: int = 2 * 2**20
    """fp32 student logits that a kernel works on at a time."""


def row_chunks(num_rows: int, vocabulary: int, num_bytes: int, start: int = 0) -> Iterator[slice]:
    """Cut rows ``[start, start + num_rows)`` into ranges of at most ``num_bytes`` fp32 logits."""
    size = max(1, num_bytes // (4 * max(vocabulary, 1)))
    for first in range(start, start + num_rows, size):
        yield slice(first, min(first + size, start + num_rows))


def measure(
    kernel: RowKernel,
    student: RowsOf,
    teacher: TeacherLogits,
    targets: Tensor,
    chunks: Iterator[slice],
) -> list[Tensor]:
    """The difficulties of all rows, a chunk at a time."""
    return [kernel.difficulty(student(chunk), teacher(chunk), targets[chunk]) for chunk in chunks]


def losses_of_logits(
    kernel: RowKernel,
    student: Tensor,
    teacher: TeacherLogits,
    targets: Tensor,
    decide: ChunkDecide,
    sizes: ChunkBytes,
) -> tuple[Tensor, list[RowLosses]]:
    """The summed loss, differentiable by ``student [n, V]``, and each chunk's losses."""
    found: list[RowLosses] = []

    def run(logits: Tensor, gradient: Tensor | None) -> Tensor:
        for chunk in row_chunks(logits.shape[0], logits.shape[1], sizes.cache_bytes):
            part = None if gradient is None else gradient[chunk]
            found.append(
                kernel.losses(logits[chunk], teacher(chunk), targets[chunk], decide(chunk), part)
            )
        return _total(found, logits)

    (source,) = _learning(student)
    loss: Tensor = _FromLogits.apply(source, run)  # type: ignore[no-untyped-call]
    return loss, found


def losses_of_hidden(
    kernel: RowKernel,
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    teacher: TeacherLogits,
    targets: Tensor,
    decide: ChunkDecide,
    sizes: ChunkBytes,
) -> tuple[Tensor, list[RowLosses]]:
    """The summed loss, differentiable by hidden states, weight and bias, and the chunks' losses."""
    found: list[RowLosses] = []

    def run(
        hidden: Tensor, weight: Tensor, bias: Tensor | None, gradients: list[Tensor | None]
    ) -> Tensor:
        by_hidden, by_weight, by_bias = gradients
        learns = any(gradient is not None for gradient in gradients)
        for outer in row_chunks(hidden.shape[0], weight.shape[0], sizes.logits_bytes):
            states = hidden[outer]
            logits = linear(states, weight, bias)
            references = teacher(outer)
            slope = torch.empty_like(logits, dtype=_kept_dtype(logits.dtype)) if learns else None
            for chunk in row_chunks(logits.shape[0], logits.shape[1], sizes.cache_bytes):
                place = slice(outer.start + chunk.start, outer.start + chunk.stop)
                found.append(
                    kernel.losses(
                        logits[chunk],
                        None if references is None else references[chunk],
                        targets[place],
                        decide(place),
                        None if slope is None else slope[chunk],
                    )
                )
            if slope is None:
                continue
            if by_hidden is not None:
                by_hidden[outer] = _through(slope, weight)
            if by_weight is not None:
                wide = by_weight.dtype
                by_weight.addmm_(slope.t().to(wide), states.to(wide))
            if by_bias is not None:
                by_bias.add_(slope.sum(0, dtype=by_bias.dtype))
        return _total(found, hidden)

    sources = _learning(hidden, weight, bias)
    loss: Tensor = _FromHidden.apply(*sources, run)  # type: ignore[no-untyped-call]
    return loss, found


def _through(slope: Tensor, weight: Tensor) -> Tensor:
    """The gradient by the hidden states, from that by the logits ``[r, V]``: ``[r, D]``.

    Where it is wider than the weight (fp16), it is multiplied in the weight's dtype at a size that
    fits it, by a power of two, which rounds nothing.
    """
    if slope.dtype == weight.dtype:
        return slope @ weight
    greatest = slope.abs().amax().clamp(min=torch.finfo(slope.dtype).tiny)
    scale = torch.exp2(-torch.ceil(torch.log2(greatest)))
    return ((slope * scale).to(weight.dtype) @ weight).to(slope.dtype) / scale


def _learning(*sources: Tensor | None) -> tuple[Tensor | None, ...]:
    """The sources of the loss, detached where gradients are off: then none are formed."""
    if torch.is_grad_enabled():
        return sources
    return tuple(None if source is None else source.detach() for source in sources)


def _total(found: list[RowLosses], like: Tensor) -> Tensor:
    if not found:
        return like.new_zeros((), dtype=torch.promote_types(like.dtype, torch.float32))
    return torch.cat([part.token_loss for part in found]).sum()


class _FromLogits(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, student: Tensor, run: Callable[[Tensor, Tensor | None], Tensor]
    ) -> Tensor:
        gradient = None
        if ctx.needs_input_grad[0]:
            gradient = torch.empty_like(student, dtype=_kept_dtype(student.dtype))
        loss = run(student.detach(), gradient)
        ctx.gradient = None if gradient is None else _Handover(gradient, student.dtype)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, None]:
        return None if ctx.gradient is None else ctx.gradient.times(upstream), None


class _FromHidden(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        run: Callable[[Tensor, Tensor, Tensor | None, list[Tensor | None]], Tensor],
    ) -> Tensor:
        needed = ctx.needs_input_grad
        sources = (hidden, weight, bias)
        gradients: list[Tensor | None] = [
            torch.empty_like(hidden, dtype=_kept_dtype(hidden.dtype)) if needed[0] else None,
            _zeros_for_sum(weight) if needed[1] else None,
            _zeros_for_sum(bias) if needed[2] and bias is not None else None,
        ]
        detached = None if bias is None else bias.detach()
        loss = run(hidden.detach(), weight.detach(), detached, gradients)
        ctx.gradients = [
            None if gradient is None or source is None else _Handover(gradient, source.dtype)
            for gradient, source in zip(gradients, sources, strict=True)
        ]
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
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
