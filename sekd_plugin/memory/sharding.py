"""The student's weights on one device: its shard, what is gathered when, buffers for gradients."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from math import prod

from sekd_plugin.memory.numbers import FP32
from sekd_plugin.memory.settings import Cluster, PlannedModel, Precision
from sekd_plugin.memory.weight import Weight

_AHEAD = 3
"""Layers that are gathered at once in a backward pass: the one that computes, the next one, and
the buffer that the latter arrives in."""

_IN_FLIGHT = 2
"""Layers whose gradients are on their way to other ranks: one arriving, one leaving."""


@dataclass(frozen=True)
class StudentWeights:
    """Where the student's numbers are."""

    model: PlannedModel
    """The student."""

    precision: Precision
    """What it computes in."""

    cluster: Cluster
    """The devices."""

    @property
    def sharded(self) -> bool:
        """Whether each rank keeps a shard alone."""
        return self.cluster.shards > 1

    @cached_property
    def own(self) -> int:
        """Numbers that this device keeps: those of the first shard, which is the largest."""
        cluster = self.cluster
        return sum(
            weight.on_shard(cluster.tensor_parallel, cluster.shards) for weight in self._weights
        )

    @cached_property
    def own_of_last_layer(self) -> int:
        """Those of the last layer and of the output projection."""
        return -(-(self._layer + self._output) // self.cluster.shards)

    @cached_property
    def own_of_last_stack(self) -> int:
        """Those of the last stack of layers, and of the output projection."""
        shape = self.model.shape
        layers = sum(self._layers[layer] for layer in shape.layers_of(len(shape.stacks) - 1))
        return -(-(layers + self._output) // self.cluster.shards)

    def tied_in_sum(self, uses: int) -> int:
        """Bytes of what is summed to the gradient of a tied table, beside the loss's fp32 part.

        That part is copied where gradients are narrower.

        Args:
            uses: how many stacks have given their part, each as large as the table.
        """
        if not self.model.shape.tied:
            return 0
        number = self.precision.compute_bytes if self.sharded else self.model.weight_bytes
        return number * (uses + (number < FP32)) * self._table

    @cached_property
    def whole(self) -> int:
        """Numbers of all shards together, on one tensor-parallel rank."""
        return self._outside + sum(self._layers.values())

    @cached_property
    def _weights(self) -> tuple[Weight, ...]:
        return tuple(self.model.shape.weights())

    @cached_property
    def _layers(self) -> dict[int, int]:
        """Numbers of each layer."""
        return self._sizes(self._weights)

    def _sizes(self, weights: Iterable[Weight]) -> dict[int, int]:
        sizes: dict[int, int] = {}
        for weight in weights:
            if weight.layer is not None:
                size = prod(weight.on_rank(self.cluster.tensor_parallel))
                sizes[weight.layer] = sizes.get(weight.layer, 0) + size
        return sizes

    @cached_property
    def _resting(self) -> int:
        """Numbers of the layers that stay gathered until the backward pass comes to them.

        They are the last of each stack but the last one, whose turn comes at once.
        """
        shape = self.model.shape
        ends = [shape.layers_of(stack) for stack in range(len(shape.stacks) - 1)]
        return sum(self._layers[layers[-1]] for layers in ends if layers)

    @cached_property
    def _outside(self) -> int:
        """Numbers outside of the layers: embedding, last normalisation, output projection."""
        return sum(
            prod(weight.on_rank(self.cluster.tensor_parallel))
            for weight in self._weights
            if weight.layer is None
        )

    @cached_property
    def _layer(self) -> int:
        return max(self._layers.values(), default=0)

    def buffer_bytes(self) -> int:
        """Tables that are not trained, which every rank has."""
        return self.model.shape.table_bytes

    def gathered_in_loss(self) -> int:
        """Bytes gathered of all ranks while the loss is computed."""
        if not self.sharded:
            return 0
        numbers = self.whole
        if self.cluster.reshard and self.cluster.granularity == "layer":
            # The last layer stays, for it comes next, and so does the buffer it arrived in.
            numbers = min(numbers, self._outside + self._resting + 2 * self._layer)
        elif self.cluster.reshard and self.cluster.granularity == "stack":
            numbers = self._outside
        return self.precision.compute_bytes * numbers

    def gathered_in_backward(self) -> int:
        """Bytes gathered while a layer's gradients are computed."""
        if not self.sharded:
            return 0
        numbers = self.whole
        if self.cluster.reshard and self.cluster.granularity == "layer":
            numbers = min(numbers, self._outside + self._resting + _AHEAD * self._layer)
        return self.precision.compute_bytes * numbers

    def gathered_at_end(self) -> int:
        """Bytes still gathered when the gradients outside of the layers are summed."""
        if not self.sharded:
            return 0
        numbers = self.whole
        if self.cluster.reshard and self.cluster.granularity == "layer":
            numbers = self._outside + self._layer
        return self.precision.compute_bytes * numbers

    def gathered_in_validation(self) -> int:
        """Bytes gathered for validation: the whole student, before it starts."""
        return self.precision.compute_bytes * self.whole if self.sharded else 0

    def cast_copies(self, again: frozenset[int] = frozenset()) -> int:
        """Narrow copies of the layers' matrices, which autocast keeps from forward to backward.

        Args:
            again: the layers that are computed again, and so have none but one at a time.
        """
        if not self.precision.autocast or self.precision.compute_bytes >= self.model.weight_bytes:
            return 0
        matrices = self._sizes(weight for weight in self._weights if weight.multiplies)
        kept = sum(size for layer, size in matrices.items() if layer not in again)
        at_a_time = max((matrices[layer] for layer in again), default=0)
        return self.precision.compute_bytes * (kept + at_a_time)

    def bucket_bytes(self) -> int:
        """Buffers in which unsharded ranks sum their gradients, kept throughout."""
        if self.sharded or self.cluster.data_parallel == 1:
            return 0
        return self.model.weight_bytes * self.whole

    def reduced_in_backward(self) -> int:
        """Gradients on their way to their shards, while a layer computes."""
        if not self.sharded:
            return 0
        if self.cluster.granularity == "layer":
            one = self.precision.compute_bytes + _IN_FLIGHT * self.precision.reduce_bytes
            return one * self._layer + self.precision.compute_bytes * self._output
        return self.precision.compute_bytes * self.whole

    def reduced_at_end(self) -> int:
        """Gradients on their way when the last, those outside of the layers, are summed."""
        if not self.sharded:
            return 0
        one = self.precision.compute_bytes + self.precision.reduce_bytes
        if self.cluster.granularity == "layer":
            return one * self._outside + self.precision.reduce_bytes * self._layer
        return one * self.whole

    @cached_property
    def _output(self) -> int:
        """Numbers of an output projection of its own: its gradient is the first there is."""
        return 0 if self.model.shape.tied else self._table

    @property
    def _table(self) -> int:
        return prod(self.model.shape.output.on_rank(self.cluster.tensor_parallel))
