"""Rows by the chunk, gradients formed in the forward pass, memory bounded by bytes.

Two sizes of chunk: from hidden states, logits are formed for ``logits_bytes`` at a time, large
enough for an efficient matrix product; over logits, the kernel works on ``cache_bytes`` at a
time, small enough for its passes to find the rows in the cache. A kernel that streams over rows by
itself is given them uncut.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

from sekd_plugin.kernels.decision import Decision
from sekd_plugin.kernels.projection import Projection, factor_dtype
from sekd_plugin.kernels.row_kernel import RowKernel, RowLosses, TeacherRows

Rows = slice | Tensor
"""Some of the n rows: a range, or their numbers."""

TeacherOf = Callable[[Rows], TeacherRows]
"""From some of the n rows to what is known of the teacher on them."""


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


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What both paths need to know of a batch of n target rows, besides the student."""

    kernel: RowKernel
    """What computes a chunk of rows."""

    teacher: TeacherOf
    """The teacher."""

    targets: Tensor
    """``[n]`` gold ids."""

    decision: Decision
    """Which rows are hard."""

    sizes: ChunkBytes
    """How much is worked on at a time."""

    def cut(self, logits: Tensor) -> Iterator[slice]:
        """The ranges of rows of ``logits`` that the kernel is given at a time."""
        if self.kernel.streams and logits.shape[0] > 0:
            return iter([slice(0, logits.shape[0])])
        return row_chunks(logits.shape[0], logits.shape[1], self.sizes.cache_bytes)

    def settle(
        self, parts: list[RowLosses], like: Tensor, again: Callable[[Tensor, Tensor], Tensor]
    ) -> RowLosses:
        """The chunks in one piece, each row as the threshold decides in the end.

        Args:
            parts: the chunks, decided on as they went by.
            like: of the logits' dtype.
            again: does rows again that were taken for the wrong kind: from their numbers and
                which of them are hard to their losses.
        """
        wide = like.new_zeros((), dtype=torch.promote_types(like.dtype, torch.float32))
        found = RowLosses.joined(parts, wide)
        hard = self.decision.settle(found.difficulty, found.hard)
        wrong = (hard != found.hard).nonzero().squeeze(-1)
        if wrong.numel() == 0:
            return found
        token_loss = found.token_loss.clone()
        token_loss[wrong] = again(wrong, hard[wrong])
        return dataclasses.replace(found, token_loss=token_loss, hard=hard)


def losses_of_logits(batch: Batch, student: Tensor) -> tuple[Tensor, RowLosses]:
    """The summed loss, differentiable by ``student [n, V]``, and each row's losses."""
    found: list[RowLosses] = []

    def run(logits: Tensor, gradient: Tensor | None) -> Tensor:
        def losses(rows: Rows, hard: Tensor | None, part: Tensor | None) -> RowLosses:
            return batch.kernel.losses(
                logits[rows],
                batch.teacher(rows),
                batch.targets[rows],
                _as_given(hard) if isinstance(rows, Tensor) else batch.decision.on(rows),
                part,
            )

        def again(rows: Tensor, hard: Tensor) -> Tensor:
            values = []
            for chunk in batch.cut(logits[:1].expand(rows.numel(), -1)):
                some = rows[chunk]
                part = None
                if gradient is not None:
                    part = gradient.new_empty(some.numel(), gradient.shape[1])
                values.append(losses(some, hard[chunk], part).token_loss)
                if part is not None and gradient is not None:
                    gradient[some] = part
            return torch.cat(values)

        parts = [
            losses(chunk, None, None if gradient is None else gradient[chunk])
            for chunk in batch.cut(logits)
        ]
        found.append(batch.settle(parts, logits, again))
        return found[0].token_loss.sum()

    (source,) = _learning(student)
    loss: Tensor = _FromLogits.apply(source, run)  # type: ignore[no-untyped-call]
    return loss, found[0]


def losses_of_hidden(
    batch: Batch,
    hidden: Tensor,
    projection: Projection,
    group: dist.ProcessGroup | None = None,
) -> tuple[Tensor, RowLosses]:
    """The summed loss, differentiable by hidden states, weight and bias, and the rows' losses.

    Args:
        batch: all but the student.
        hidden: ``[n, D]``.
        projection: the student's; of a shard of the words where there is a ``group``.
        group: the ranks among which the words are divided; all hold the same hidden states.
    """
    found: list[RowLosses] = []

    def run(hidden: Tensor, gradients: _Gradients) -> Tensor:
        working = projection.frozen(dtype=factor_dtype(hidden))
        wide = torch.promote_types(hidden.dtype, torch.float32)

        def losses(rows: Rows, hard: Tensor | None, slope: Tensor | None) -> RowLosses:
            """A chunk of logits; ``slope`` becomes its gradient by h·Wᵀ + b."""
            logits = working.logits(hidden[rows].to(working.weight.dtype))
            teacher = batch.teacher(rows)
            parts = []
            for chunk in batch.cut(logits):
                if isinstance(rows, slice):
                    decide = batch.decision.on(
                        slice(rows.start + chunk.start, rows.start + chunk.stop)
                    )
                else:
                    decide = _as_given(None if hard is None else hard[chunk])
                parts.append(
                    batch.kernel.losses(
                        logits[chunk],
                        None if teacher is None else teacher[chunk],
                        batch.targets[rows][chunk],
                        decide,
                        None if slope is None else slope[chunk],
                    )
                )
            if slope is not None:
                working.pull_back(slope, logits)
            return RowLosses.joined(parts, logits)

        def room(rows: Rows) -> Tensor | None:
            if not gradients.wanted:
                return None
            number = rows.stop - rows.start if isinstance(rows, slice) else rows.numel()
            return hidden.new_empty(number, projection.size, dtype=wide)

        def again(rows: Tensor, hard: Tensor) -> Tensor:
            values = []
            for chunk in row_chunks(rows.numel(), projection.size, batch.sizes.logits_bytes // 2):
                some, before, after = rows[chunk], room(rows[chunk]), room(rows[chunk])
                if before is not None:
                    losses(some, ~hard[chunk], before)
                values.append(losses(some, hard[chunk], after).token_loss)
                if before is not None and after is not None:
                    gradients.by_hidden_rows(some, after, working.weight)
                    gradients.by_parameters(after, hidden[some])
                    gradients.by_parameters(before.neg_(), hidden[some])
            return torch.cat(values)

        parts = []
        for chunk in row_chunks(hidden.shape[0], projection.size, batch.sizes.logits_bytes):
            slope = room(chunk)
            parts.append(losses(chunk, None, slope))
            if slope is not None:
                gradients.by_hidden_rows(chunk, slope, working.weight)
                gradients.by_parameters(slope, hidden[chunk])
        found.append(batch.settle(parts, hidden, again))
        if group is not None and gradients.hidden is not None:
            dist.all_reduce(gradients.hidden, group=group)
        return found[0].token_loss.sum()

    sources = _learning(hidden, projection.weight, projection.bias)
    loss: Tensor = _FromHidden.apply(*sources, run)  # type: ignore[no-untyped-call]
    return loss, found[0]


def _learning(*sources: Tensor | None) -> tuple[Tensor | None, ...]:
    """The sources of the loss, detached where gradients are off: then none are formed."""
    if torch.is_grad_enabled():
        return sources
    return tuple(None if source is None else source.detach() for source in sources)


def _as_given(hard: Tensor | None) -> Callable[[Tensor], Tensor]:
    assert hard is not None
    return lambda difficulty: hard


class _Gradients:
    """The gradients by hidden states, weight and bias, summed up chunk by chunk.

    Each is None where none is wanted. Those of the parameters are summed in fp32 or wider.
    """

    def __init__(self, hidden: Tensor | None, weight: Tensor | None, bias: Tensor | None) -> None:
        self.hidden = hidden
        self.weight = weight
        self.bias = bias
        self.wanted = not (hidden is None and weight is None and bias is None)

    def by_hidden_rows(self, rows: Rows, slope: Tensor, weight: Tensor) -> None:
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
    if not total.is_cuda or states.dtype == slope.dtype:
        total.addmm_(slope.t().to(total.dtype), states.to(total.dtype))
        return
    # Half-precision factors and an fp32 sum, which is what tensor cores do.
    narrow, scale = _narrowed(slope, states.dtype)
    total.add_(torch.mm(narrow.t(), states, out_dtype=torch.float32).to(total.dtype), alpha=scale)


def _through(slope: Tensor, weight: Tensor) -> Tensor:
    """The gradient by the hidden states, from that by the logits ``[r, V]``: ``[r, D]``."""
    narrow, scale = _narrowed(slope, weight.dtype)
    product = (narrow @ weight).to(slope.dtype)
    return product if scale == 1.0 else product.mul_(scale)


def _narrowed(slope: Tensor, dtype: torch.dtype) -> tuple[Tensor, float]:
    """A gradient in another dtype, and what to multiply by to have it back.

    fp16 has no room for small gradients: they are divided by a power of two of the greatest's
    size, which rounds nothing.
    """
    if dtype != torch.float16:
        return slope.to(dtype), 1.0
    greatest = float(slope.abs().amax()) if slope.numel() else 0.0
    if not 0.0 < greatest < math.inf:
        return slope.to(dtype), 1.0
    scale = 2.0 ** math.ceil(math.log2(greatest))
    return (slope / scale).to(dtype), scale


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
        run: Callable[[Tensor, _Gradients], Tensor],
    ) -> Tensor:
        needed = ctx.needs_input_grad
        gradients = _Gradients(
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
