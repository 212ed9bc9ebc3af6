"""What a decoder-only model keeps for the backward pass, and what it needs while it computes."""

from __future__ import annotations

from dataclasses import dataclass

from sekd_plugin.memory.activations import Activations, dropped_out
from sekd_plugin.memory.decoder_shape import DecoderShape
from sekd_plugin.memory.numbers import FP32, TOKEN_ID


@dataclass(frozen=True, kw_only=True)
class DecoderActivations(Activations):
    """Activations of a decoder-only model; prompt and translation are one sequence."""

    shape: DecoderShape
    """The model."""

    def without_gradients(self) -> int:
        """A layer's at a time, and the output."""
        return (self._in_passing() + self._output + self._masks()) * self.batch.tokens

    def output(self) -> int:
        """Of every token."""
        return self._output * self.batch.tokens

    def kept(self) -> int:
        """All of most layers, the input of those that are computed again, and both ends."""
        again = len(self.shape.layers_again(self.batch.checkpoint_every))
        a_token = (
            (self.shape.num_layers - again) * self._layer()
            + again * self._layer_input()
            + self._ends()
            + self._masks()
        )
        return a_token * self.batch.tokens

    def in_last_layer(self) -> int:
        """Its gradients, and its activations if they are computed again."""
        a_token = self._in_passing()
        if self.batch.checkpoint_every is not None:
            a_token += self._layer()
        return a_token * self.batch.tokens

    def in_first_layer(self) -> int:
        """A layer's activations and their gradients."""
        return (self._layer() + self._in_passing()) * self.batch.tokens

    def first_input(self) -> int:
        """The embeddings."""
        return self._layer_input() * self.batch.tokens

    def after_last_stack(self) -> None:
        """There is one stack."""

    def _layer(self) -> int:
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
            kept += 2 * self._norm(shape.width, self.numbers.between)
        else:
            kept += 2 * self._norm(shape.width, inside)
        if shape.query_norm is not None:
            kept += self._norm(self._queries, inside, max(1, self._queries // shape.query_norm))
        if shape.key_norm is not None:
            kept += self._norm(self._keys, inside, max(1, self._keys // shape.key_norm))
        kept += 4 * inside * self._queries + FP32 * shape.num_heads // self.tensor_parallel
        kept += 2 * shape.positions.row_bytes
        kept += 4 * inside * self._inner
        return kept + 2 * dropped_out(self.shape, inside, self.on_gpu)

    def _layer_input(self) -> int:
        """What a layer keeps that will be computed again: its input."""
        return self.numbers.between * self.shape.width

    def _norm(self, size: int, number_bytes: int, rows: int = 1) -> int:
        """What normalising ``size`` numbers, cut into ``rows``, keeps, its input included."""
        statistic = FP32 * rows
        if self.on_gpu and not self.shape.composed_norms:
            return number_bytes * size + statistic
        widened = 0 if number_bytes == FP32 else FP32 * size
        return number_bytes * size + widened + FP32 * size + statistic

    def _ends(self) -> int:
        """What is kept outside of the layers: ids, dropped embeddings, the last normalisation."""
        between = self.numbers.between
        return (
            TOKEN_ID
            + self._norm(self.shape.width, between)
            + dropped_out(self.shape, between, self.on_gpu)
        )

    @property
    def _output(self) -> int:
        """The hidden state that the output projection is applied to."""
        return self.numbers.between * self.shape.width

    def _in_passing(self) -> int:
        """What a layer needs in passing, in either direction: gradients are as large."""
        width, inside = self.shape.width, self.numbers.inside
        around = 2 * self.numbers.between * width + inside * width
        rotated = 2 * FP32 * self._queries
        attention = 4 * inside * self._queries + rotated
        feed_forward = 3 * inside * self._inner
        return around + max(attention, feed_forward)

    def _masks(self) -> int:
        """The attention mask: a number for each pair of tokens of a sentence, for all layers."""
        return self.shape.num_masks * self.numbers.inside * self.batch.longest

    @property
    def _queries(self) -> int:
        return self.shape.num_heads * self.shape.head_width // self.tensor_parallel

    @property
    def _keys(self) -> int:
        return self.shape.num_key_value_heads * self.shape.head_width // self.tensor_parallel

    @property
    def _inner(self) -> int:
        return self.shape.inner // self.tensor_parallel
