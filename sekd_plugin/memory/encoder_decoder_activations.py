"""What an encoder–decoder model keeps for the backward pass, and needs while it computes."""

from __future__ import annotations

from dataclasses import dataclass

from sekd_plugin.memory.activations import Activations, dropped_out
from sekd_plugin.memory.encoder_decoder_shape import EncoderDecoderShape
from sekd_plugin.memory.numbers import FP32, TOKEN_ID

_NORM_STATISTICS = 2 * FP32
"""The mean and the deviation that a normalisation keeps of a token."""


@dataclass(frozen=True, kw_only=True)
class EncoderDecoderActivations(Activations):
    """Activations of an encoder on the sources and of a decoder on the targets."""

    shape: EncoderDecoderShape
    """The model."""

    def without_gradients(self) -> int:
        """A layer's at a time: the encoder's, or the decoder's beside what the encoder has read."""
        encoder = self._encoder_in_passing() + self._encoder_masks()
        decoder = self._encoded() + self._decoder_in_passing() + self._decoder_masks()
        return max(encoder, decoder) + self.output()

    def output(self) -> int:
        """Of every target token."""
        return self.numbers.between * self.shape.width * self.batch.tokens

    def kept(self) -> int:
        """All of most layers, the input of those that are computed again, and the ends of both."""
        decoder = self._stack(1, self._decoder_layer(), self.batch.tokens)
        return (
            self._kept_by_encoder()
            + self._kept_encoded()
            + decoder
            + self._ends() * self.batch.tokens
            + self._decoder_masks()
        )

    def in_last_layer(self) -> int:
        """The gradients of a decoder layer and of what the encoder has read."""
        again = self._decoder_layer() if self.batch.checkpoint_every is not None else 0
        return self._decoder_in_passing() + self._encoded() + again

    def in_first_layer(self) -> int:
        """An encoder layer's activations and their gradients."""
        return self._encoder_layer() + self._encoder_in_passing()

    def first_input(self) -> int:
        """The embeddings of the sources."""
        return self._state * self.batch.sources

    def after_last_stack(self) -> int:
        """All that the encoder keeps, and the gradient of what it has read."""
        return self._kept_by_encoder() + self._encoded()

    def _kept_by_encoder(self) -> int:
        layers = self._stack(0, self._encoder_layer(), self.batch.sources)
        return layers + self._ends() * self.batch.sources + self._encoder_masks()

    def _stack(self, stack: int, a_layer: int, tokens: int) -> int:
        """What a stack keeps, where some of its layers are computed again."""
        layers = self.shape.layers_of(stack)
        again = len(self.shape.layers_again(self.batch.checkpoint_every).intersection(layers))
        return (len(layers) - again) * a_layer + again * self._state * tokens

    def _encoder_layer(self) -> int:
        """What an encoder layer keeps."""
        attention = self._attention(self.shape.encoder_heads)
        return (attention + self._feed_forward()) * self.batch.sources

    def _decoder_layer(self) -> int:
        """What a decoder layer keeps; keys and values of its second attention are the sources'."""
        heads, inside = self.shape.decoder_heads, self.numbers.inside
        both = self._attention(heads) + self._attention(heads, from_itself=False)
        of_targets = both + self._feed_forward()
        of_sources = 2 * inside * self._attended(heads)
        if self.numbers.autocast:
            of_sources += 2 * inside * self.shape.width  # a cast copy for either projection
        return of_targets * self.batch.tokens + of_sources * self.batch.sources

    def _attention(self, heads: int, *, from_itself: bool = True) -> int:
        """Of a token: input, normalised input, queries and attention's output, in part more.

        Args:
            heads: how many.
            from_itself: whether keys and values are made from the same tokens.
        """
        inside = self.numbers.inside
        inputs = 3 if self.numbers.autocast and from_itself else 1  # a cast copy for each
        projected = 4 if from_itself else 2
        kept = self._norm + inputs * inside * self.shape.width
        kept += projected * inside * self._attended(heads) + FP32 * heads // self.tensor_parallel
        return kept + dropped_out(self.shape, inside, self.on_gpu)

    def _feed_forward(self) -> int:
        """Of a token: input, normalised input, and what ReLU has left."""
        inside = self.numbers.inside
        kept = self._norm + inside * self.shape.width + inside * self._inner
        return kept + dropped_out(self.shape, inside, self.on_gpu)

    def _ends(self) -> int:
        """Of a token, outside of the layers: its id, dropped embeddings, the last normalisation."""
        return TOKEN_ID + self._norm + dropped_out(self.shape, self.numbers.between, self.on_gpu)

    def _encoded(self) -> int:
        """What the encoder has read, or the gradient of it."""
        return self._state * self.batch.sources

    def _kept_encoded(self) -> int:
        """The same, unless all that is kept of it are cast copies."""
        copies_alone = self.numbers.autocast and self.batch.checkpoint_every is None
        return 0 if copies_alone else self._encoded()

    def _encoder_in_passing(self) -> int:
        """What an encoder layer needs in passing, in either direction."""
        attention = 4 * self.numbers.inside * self._attended(self.shape.encoder_heads)
        return (self._around + max(attention, self._inner_in_passing)) * self.batch.sources

    def _decoder_in_passing(self) -> int:
        """Likewise a decoder layer."""
        attended = self.numbers.inside * self._attended(self.shape.decoder_heads)
        of_itself = 4 * attended * self.batch.tokens
        of_sources = 2 * attended * (self.batch.tokens + self.batch.sources)
        feed_forward = self._inner_in_passing * self.batch.tokens
        return self._around * self.batch.tokens + max(of_itself, of_sources, feed_forward)

    def _encoder_masks(self) -> int:
        """A number for each pair of source tokens of a sentence, for all layers."""
        return self.numbers.inside * self.batch.longest * self.batch.sources

    def _decoder_masks(self) -> int:
        """Likewise for each pair of targets, and for each of a target and a source."""
        return 2 * self.numbers.inside * self.batch.longest * self.batch.tokens

    @property
    def _around(self) -> int:
        """Of a token, around what a layer computes: residual, sum and normalised input."""
        width = self.shape.width
        return 2 * self.numbers.between * width + self.numbers.inside * width

    @property
    def _inner_in_passing(self) -> int:
        """Of a token, before and after ReLU."""
        return 2 * self.numbers.inside * self._inner

    @property
    def _norm(self) -> int:
        """What a normalisation keeps of a token, its input included."""
        return self._state + _NORM_STATISTICS

    @property
    def _state(self) -> int:
        return self.numbers.between * self.shape.width

    @property
    def _inner(self) -> int:
        return self.shape.inner // self.tensor_parallel

    def _attended(self, heads: int) -> int:
        return self.shape.attended(heads) // self.tensor_parallel
