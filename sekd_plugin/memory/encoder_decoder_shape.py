"""The shape of an encoder–decoder Transformer as NLLB's, and every parameter of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sekd_plugin.memory.model_shape import ModelShape
from sekd_plugin.memory.weight import LayerWeights, Weight


@dataclass(frozen=True, kw_only=True)
class EncoderDecoderShape(ModelShape):
    """Layers that normalise what goes into them, with biases everywhere and ReLU between.

    Encoder and decoder share one embedding table, and one table of sines by which places are told.
    """

    encoder_layers: int
    """How many layers the encoder has."""

    decoder_layers: int
    """How many the decoder has."""

    encoder_heads: int
    """Attention heads of an encoder layer."""

    decoder_heads: int
    """Those of a decoder layer, of either attention."""

    positions: int
    """Rows of the table of places."""

    tied: bool = True
    """The output projection is the embedding table."""

    @property
    def stacks(self) -> tuple[int, ...]:
        """The encoder's layers, and the decoder's."""
        return self.encoder_layers, self.decoder_layers

    @property
    def table_bytes(self) -> int:
        """The sines, in fp32."""
        return 4 * self.positions * self.width

    @property
    def output(self) -> Weight:
        """The embedding table; tensor-parallel ranks hold all of it."""
        return Weight(name="encoder_frontend.embed.weight", shape=(self.vocabulary, self.width))

    def attended(self, heads: int) -> int:
        """The size of the queries, keys or values of so many heads."""
        return heads * (self.width // heads)

    def weights(self) -> Iterator[Weight]:
        """Every parameter, in the order of the model."""
        yield self.output
        for layer in self.layers_of(0):
            own = LayerWeights(prefix=f"encoder.layers.{layer}", layer=layer)
            yield from self._attention(own, "self_attn", self.encoder_heads)
            yield from self._feed_forward(own)
        yield from self._last_norm("encoder")
        for number, layer in enumerate(self.layers_of(1)):
            own = LayerWeights(prefix=f"decoder.layers.{number}", layer=layer)
            for name in ("self_attn", "encoder_decoder_attn"):
                yield from self._attention(own, name, self.decoder_heads)
            yield from self._feed_forward(own)
        yield from self._last_norm("decoder")

    def _attention(self, own: LayerWeights, name: str, heads: int) -> Iterator[Weight]:
        attended = self.attended(heads)
        yield from self._norm(own, f"{name}_layer_norm")
        for projection in ("q_proj", "k_proj", "v_proj"):
            yield own.matrix(f"{name}.{projection}", attended, self.width, 0)
            yield own.vector(f"{name}.{projection}.bias", attended, 0)
        yield own.matrix(f"{name}.output_proj", self.width, attended, 1)
        yield own.vector(f"{name}.output_proj.bias", self.width)

    def _feed_forward(self, own: LayerWeights) -> Iterator[Weight]:
        yield from self._norm(own, "ffn_layer_norm")
        yield own.matrix("ffn.inner_proj", self.inner, self.width, 0)
        yield own.vector("ffn.inner_proj.bias", self.inner, 0)
        yield own.matrix("ffn.output_proj", self.width, self.inner, 1)
        yield own.vector("ffn.output_proj.bias", self.width)

    def _norm(self, own: LayerWeights, name: str) -> Iterator[Weight]:
        yield own.vector(f"{name}.weight", self.width)
        yield own.vector(f"{name}.bias", self.width)

    def _last_norm(self, stack: str) -> Iterator[Weight]:
        yield Weight(name=f"{stack}.layer_norm.weight", shape=(self.width,))
        yield Weight(name=f"{stack}.layer_norm.bias", shape=(self.width,))
