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
            slope = torch.empty_like(logits) if learns else None
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
                by_hidden[outer] = slope @ weight
            if by_weight is not None:
                wide = by_weight.dtype
                by_weight.addmm_(slope.t().to(wide), states.to(wide))
            if by_bias is not None:
                by_bias.add_(slope.sum(0, dtype=by_bias.dtype))
        return _total(found, hidden)

    sources = _learning(hidden, weight, bias)
    loss: Tensor = _FromHidden.apply(*sources, run)  # type: ignore[no-untyped-call]
    return loss, found


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
        gradient = torch.empty_like(student) if ctx.needs_input_grad[0] else None
        loss = run(student.detach(), gradient)
        ctx.gradient = gradient
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, None]:
        return _scaled(ctx.gradient, upstream), None


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
        gradients: list[Tensor | None] = [
            torch.empty_like(hidden) if needed[0] else None,
            _zeros_for_sum(weight) if needed[1] else None,
            _zeros_for_sum(bias) if needed[2] and bias is not None else None,
        ]
        detached = None if bias is None else bias.detach()
        loss = run(hidden.detach(), weight.detach(), detached, gradients)
        ctx.gradients = gradients
        ctx.dtypes = (hidden.dtype, weight.dtype, None if bias is None else bias.dtype)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        found = [
            None if gradient is None else _scaled(gradient, upstream).to(dtype)  # type: ignore[union-attr]
            for gradient, dtype in zip(ctx.gradients, ctx.dtypes, strict=True)
        ]
        return (*found, None)


def _zeros_for_sum(parameter: Tensor) -> Tensor:
    """Zeros to sum a parameter's gradient in, fp32 or wider."""
    return torch.zeros_like(parameter, dtype=torch.promote_types(parameter.dtype, torch.float32))


def _scaled(gradient: Tensor | None, upstream: Tensor) -> Tensor | None:
    """The saved gradient times the upstream one; the common factor 1 costs nothing.

    The factor stays a Python number: rounded to bf16 first, it would shift every element alike.
    """
    factor = float(upstream)
    return gradient if gradient is None or factor == 1.0 else gradient * factor
