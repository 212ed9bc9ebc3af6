"""Rows by the chunk, gradients formed in the forward pass, memory bounded by bytes.

Two sizes of chunk: from hidden states, logits are formed for ``logits_bytes`` at a time, large
enough for an efficient matrix product; over logits, the kernel works on ``cache_bytes`` at a
time, small enough for its passes to find the rows in the cache. A kernel that streams over rows by
itself is given them uncut.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from sekd_plugin.kernels.decision import Decision
from sekd_plugin.kernels.gradients import FromHidden, FromLogits, Gradients, learning
from sekd_plugin.kernels.projection import ChunkRoom, Projection, factor_dtype
from sekd_plugin.kernels.row_kernel import Decide, RowKernel, RowLosses, TeacherRows

Rows = slice | Tensor
"""Some of the n rows: a range, or their numbers."""

TeacherOf = Callable[[Rows], TeacherRows]
"""From some of the n rows to what is known of the teacher on them."""


@dataclass(frozen=True, kw_only=True)
class ChunkBytes:
    """How much is worked on at a time."""

    logits_bytes: int = 32 * 2**20
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

    def cut(self, num_rows: int, vocabulary: int) -> Iterator[slice]:
        """The ranges of so many rows of logits that the kernel is given at a time."""
        if self.kernel.streams and num_rows > 0:
            return iter([slice(0, num_rows)])
        return row_chunks(num_rows, vocabulary, self.sizes.cache_bytes)

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
        def losses(rows: Rows, decide: Decide, part: Tensor | None) -> RowLosses:
            return batch.kernel.losses(
                logits[rows], batch.teacher(rows), batch.targets[rows], decide, part
            )

        def again(rows: Tensor, hard: Tensor) -> Tensor:
            values = []
            for chunk in batch.cut(rows.numel(), logits.shape[1]):
                some = rows[chunk]
                if gradient is None:
                    values.append(losses(some, _given(hard[chunk]), None).token_loss)
                    continue
                part = gradient.new_empty(some.numel(), gradient.shape[1])
                values.append(losses(some, _given(hard[chunk]), part).token_loss)
                gradient[some] = part
            return torch.cat(values)

        parts = [
            losses(chunk, batch.decision.on(chunk), None if gradient is None else gradient[chunk])
            for chunk in batch.cut(*logits.shape)
        ]
        found.append(batch.settle(parts, logits, again))
        return found[0].token_loss.sum()

    (source,) = learning(student)
    loss: Tensor = FromLogits.apply(source, run)  # type: ignore[no-untyped-call]
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

    def run(hidden: Tensor, gradients: Gradients) -> Tensor:
        working = projection.frozen(dtype=factor_dtype(hidden))
        wide = torch.promote_types(hidden.dtype, torch.float32)
        logits_room, slope_room, wrong_slope_room = ChunkRoom(), ChunkRoom(), ChunkRoom()

        def project(rows: Rows) -> tuple[Tensor, TeacherRows]:
            states = hidden[rows].to(working.weight.dtype)
            return working.logits(states, logits_room), batch.teacher(rows)

        def losses(
            projected: tuple[Tensor, TeacherRows],
            targets: Tensor,
            decide: Callable[[slice], Decide],
            slope: Tensor | None,
        ) -> RowLosses:
            """A chunk of logits; ``slope`` becomes its gradient by h·Wᵀ + b."""
            logits, teacher = projected
            parts = [
                batch.kernel.losses(
                    logits[chunk],
                    None if teacher is None else teacher[chunk],
                    targets[chunk],
                    decide(chunk),
                    None if slope is None else slope[chunk],
                )
                for chunk in batch.cut(*logits.shape)
            ]
            if slope is not None:
                working.pull_back(slope, logits)
            return RowLosses.joined(parts, logits)

        def room(num_rows: int, of: ChunkRoom) -> Tensor | None:
            if not gradients.wanted:
                return None
            return of.take(num_rows, projection.size, hidden, wide)

        def again(rows: Tensor, hard: Tensor) -> Tensor:
            values = []
            for chunk in row_chunks(rows.numel(), projection.size, batch.sizes.logits_bytes // 2):
                some, decided = rows[chunk], hard[chunk]
                projected, targets = project(some), batch.targets[some]
                before = room(some.numel(), wrong_slope_room)
                after = room(some.numel(), slope_room)
                right = losses(projected, targets, given_from(decided), after)
                values.append(right.token_loss)
                if before is None or after is None:
                    continue
                losses(projected, targets, given_from(~decided), before)
                gradients.by_hidden_rows(some, after, working.weight)
                gradients.by_parameters(after, hidden[some])
                gradients.by_parameters(before.neg_(), hidden[some])
            return torch.cat(values)

        def given_from(hard: Tensor) -> Callable[[slice], Decide]:
            return lambda part: _given(hard[part])

        def decide_from(start: int) -> Callable[[slice], Decide]:
            return lambda part: batch.decision.on(slice(start + part.start, start + part.stop))

        parts = []
        for chunk in row_chunks(hidden.shape[0], projection.size, batch.sizes.logits_bytes):
            slope = room(chunk.stop - chunk.start, slope_room)
            targets = batch.targets[chunk]
            parts.append(losses(project(chunk), targets, decide_from(chunk.start), slope))
            if slope is not None:
                gradients.by_hidden_rows(chunk, slope, working.weight)
                gradients.by_parameters(slope, hidden[chunk])
        found.append(batch.settle(parts, hidden, again))
        if group is not None and gradients.hidden is not None:
            dist.all_reduce(gradients.hidden, group=group)
        return found[0].token_loss.sum()

    sources = learning(hidden, projection.weight, projection.bias)
    loss: Tensor = FromHidden.apply(*sources, run)  # type: ignore[no-untyped-call]
    return loss, found[0]


def _given(hard: Tensor) -> Decide:
    """A decision that was made already."""
    return lambda difficulty: hard
