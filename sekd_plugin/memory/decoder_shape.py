"""The shape of a decoder-only Transformer, and every parameter that follows from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sekd_plugin.memory.model_shape import ModelShape
from sekd_plugin.memory.weight import LayerWeights, Weight


@dataclass(frozen=True, kw_only=True)
class PositionTable:
    """The fp32 table by which queries and keys are rotated, shared by all layers."""

    rows: int
    """Positions."""

    row_numbers: int
    """Numbers of a position; of a padded batch each rotation keeps a copy for every token."""

    @property
    def table_bytes(self) -> int:
        """All of it."""
        return 4 * self.rows * self.row_numbers

    @property
    def row_bytes(self) -> int:
        """Of one position."""
        return 4 * self.row_numbers


@dataclass(frozen=True, kw_only=True)
class DecoderShape(ModelShape):
    """A decoder-only Transformer with gated feed-forward layers and rotary positions.

    A feed-forward layer has gate and value, of the inner size each.
    """

    layers: int
    """How many layers."""

    num_heads: int
    """Attention heads."""

    num_key_value_heads: int
    """Heads of keys and values; each is repeated for as many query heads as share it."""

    head_width: int
    """The size of a head."""

    attention_bias: bool = False
    """Whether the projections to queries, keys and values have a bias."""

    query_norm: int | None = None
    """The size that queries are normalised over, if they are."""

    key_norm: int | None = None
    """Likewise keys."""

    norms_before: bool = True
    """Whether a layer normalises what goes into attention and feed-forward layer, or else what
    comes out of them."""

    composed_norms: bool = False
    """Whether normalising is composed of several operations, each of which keeps its input, on a
    GPU too."""

    num_masks: int = 1
    """How many attention masks a batch needs: two where some layers see a window alone."""

    positions: PositionTable
    """What queries and keys are rotated by."""

    embedding_divided: int | None = None
    """The dimension of the embedding table that tensor-parallel ranks divide."""

    output_divided: int | None = 0
    """Likewise of the output projection."""

    @property
    def stacks(self) -> tuple[int, ...]:
        """One."""
        return (self.layers,)

    @property
    def table_bytes(self) -> int:
        """The rotary table."""
        return self.positions.table_bytes

    @property
    def output(self) -> Weight:
        """The output projection, or the embedding table that it is tied to."""
        if self.tied:
            return self._embedding
        return Weight(
            name="final_proj.weight",
            shape=(self.vocabulary, self.width),
            divided=self.output_divided,
        )

    @property
    def _embedding(self) -> Weight:
        return Weight(
            name="decoder_frontend.embed.weight",
            shape=(self.vocabulary, self.width),
            divided=self.embedding_divided,
        )

    def weights(self) -> Iterator[Weight]:
        """Every parameter, in the order of the model."""
        yield self._embedding
        for layer in range(self.layers):
            yield from self._layer_weights(layer)
        yield Weight(name="decoder.layer_norm.weight", shape=(self.width,))
        if not self.tied:
            yield self.output

    def _layer_weights(self, layer: int) -> Iterator[Weight]:
        own = LayerWeights(prefix=f"decoder.layers.{layer}", layer=layer)
        queries = self.num_heads * self.head_width
        keys = self.num_key_value_heads * self.head_width
        yield own.vector("self_attn_layer_norm.weight", self.width)
        for name, rows in (("q_proj", queries), ("k_proj", keys), ("v_proj", keys)):
            yield own.matrix(f"self_attn.{name}", rows, self.width, 0)
            if self.attention_bias:
                yield own.vector(f"self_attn.{name}.bias", rows, 0)
        yield own.matrix("self_attn.output_proj", self.width, queries, 1)
        for name, size in (("q_norm", self.query_norm), ("k_norm", self.key_norm)):
            if size is not None:
                yield own.vector(f"self_attn.{name}.weight", size)
        yield own.vector("ffn_layer_norm.weight", self.width)
        yield own.matrix("ffn.gate_proj", self.inner, self.width, 0)
        yield own.matrix("ffn.inner_proj", self.inner, self.width, 0)
        yield own.matrix("ffn.output_proj", self.width, self.inner, 1)
