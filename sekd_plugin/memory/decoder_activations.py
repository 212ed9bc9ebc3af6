"""What a layer keeps of a token for the backward pass, and what it needs while it computes."""

from __future__ import annotations

from dataclasses import dataclass

from sekd_plugin.memory.decoder_shape import DecoderShape
from sekd_plugin.memory.settings import PlannedModel, Precision

_FP32 = 4


@dataclass(frozen=True, kw_only=True)
class NumberBytes:
    """How wide the numbers of a forward pass are."""

    between: int
    """Bytes of a number of the hidden states between layers."""

    inside: int
    """Bytes of a number within a layer, where the large products are made."""

    autocast: bool
    """Whether each product keeps a cast copy of its input of its own."""


def student_numbers(model: PlannedModel, precision: Precision) -> NumberBytes:
    """Of the student: sharded mixed precision narrows everything, autocast the products alone."""
    between = model.weight_bytes if precision.autocast else precision.compute_bytes
    return NumberBytes(between=between, inside=precision.compute_bytes, autocast=precision.autocast)


def teacher_numbers(model: PlannedModel, precision: Precision) -> NumberBytes:
    """Of the teacher: its weights' own type, but for products under autocast."""
    inside = precision.compute_bytes if precision.autocast else model.weight_bytes
    return NumberBytes(between=model.weight_bytes, inside=inside, autocast=precision.autocast)


@dataclass(frozen=True, kw_only=True)
class Activations:
    """Activations of a model, in bytes a token."""

    shape: DecoderShape
    """The model."""

    numbers: NumberBytes
    """How wide its numbers are."""

    tensor_parallel: int = 1
    """Among how many devices heads and feed-forward layers are divided."""

    on_gpu: bool = True
    """GPUs normalise in one kernel, which keeps its input and one number a row."""

    def of_layer(self) -> int:
        """What a layer keeps for its backward pass.

        Formula:
            input, normalised input, queries, keys, values and attention's output; then input,
            normalised input, gate, activated gate, value and their product
        """
        shape, inside = self.shape, self.numbers.inside
        into_attention, into_feed_forward = 1, 1
        if self.numbers.autocast:
            into_attention, into_feed_forward = 3, 2  # one cast copy for each projection
        kept = (into_attention + into_feed_forward) * inside * shape.width
        if shape.norms_before:
            kept += 2 * self.of_norm(shape.width, self.numbers.between)
        else:
            kept += 2 * self.of_norm(shape.width, inside)
        if shape.query_norm is not None:
            kept += self.of_norm(self._queries, inside, max(1, self._queries // shape.query_norm))
        if shape.key_norm is not None:
            kept += self.of_norm(self._keys, inside, max(1, self._keys // shape.key_norm))
        kept += 4 * inside * self._queries + _FP32 * shape.num_heads // self.tensor_parallel
        kept += 2 * shape.positions.row_bytes
        kept += 4 * inside * self._inner
        return kept + 2 * self._of_dropout(inside)

    def of_layer_input(self) -> int:
        """What a layer keeps that will be computed again: its input."""
        return self.numbers.between * self.shape.width

    def of_norm(self, size: int, number_bytes: int, rows: int = 1) -> int:
        """What normalising ``size`` numbers, cut into ``rows``, keeps, its input included."""
        statistic = _FP32 * rows
        if self.on_gpu and not self.shape.composed_norms:
            return number_bytes * size + statistic
        widened = 0 if number_bytes == _FP32 else _FP32 * size
        return number_bytes * size + widened + _FP32 * size + statistic

    def of_ends(self) -> int:
        """What is kept outside of the layers: ids, dropped embeddings, the last normalisation."""
        token_id = 8
        between = self.numbers.between
        return token_id + self.of_norm(self.shape.width, between) + self._of_dropout(between)

    def _of_dropout(self, number_bytes: int) -> int:
        """What was dropped out: a byte for each number, on a CPU a number."""
        if not self.shape.dropout:
            return 0
        return self.shape.width * (1 if self.on_gpu else number_bytes)

    def of_output(self) -> int:
        """The hidden states that the output projection is applied to."""
        return self.numbers.between * self.shape.width

    def while_computing(self) -> int:
        """What a layer needs in passing, in either direction: gradients are as large."""
        width, inside = self.shape.width, self.numbers.inside
        around = 2 * self.numbers.between * width + inside * width
        rotated = 2 * _FP32 * self._queries
        attention = 4 * inside * self._queries + rotated
        feed_forward = 3 * inside * self._inner
        return around + max(attention, feed_forward)

    def of_masks(self, longest: int) -> int:
        """The attention mask: a number for each pair of tokens of a sentence, for all layers."""
        return self.shape.num_masks * self.numbers.inside * longest

    @property
    def _queries(self) -> int:
        return self.shape.num_heads * self.shape.head_width // self.tensor_parallel

    @property
    def _keys(self) -> int:
        return self.shape.num_key_value_heads * self.shape.head_width // self.tensor_parallel

    @property
    def _inner(self) -> int:
        return self.shape.inner // self.tensor_parallel
