"""The shape of a decoder-only Transformer, and every parameter that follows from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sekd_plugin.memory.weight import Weight


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
class DecoderShape:
    """A decoder-only Transformer with gated feed-forward layers and rotary positions."""

    width: int
    """D, the size of the hidden states between layers."""

    num_layers: int
    """How many layers."""

    num_heads: int
    """Attention heads."""

    num_key_value_heads: int
    """Heads of keys and values; each is repeated for as many query heads as share it."""

    head_width: int
    """The size of a head."""

    inner: int
    """F, the size inside a feed-forward layer, of gate and value each."""

    vocabulary: int
    """V, the number of words."""

    tied: bool = False
    """Whether the output projection is the embedding table."""

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

    dropout: bool = False
    """Whether outputs are dropped out at random."""

    positions: PositionTable
    """What queries and keys are rotated by."""

    embedding_divided: int | None = None
    """The dimension of the embedding table that tensor-parallel ranks divide."""

    output_divided: int | None = 0
    """Likewise of the output projection."""

    @property
    def num_parameters(self) -> int:
        """How many numbers are trained, a tied table counted once."""
        return sum(weight.size for weight in self.weights())

    def weights(self) -> Iterator[Weight]:
        """Every parameter, in the order of the model."""
        yield Weight(
            name="decoder_frontend.embed.weight",
            shape=(self.vocabulary, self.width),
            divided=self.embedding_divided,
        )
        for layer in range(self.num_layers):
            yield from self._layer_weights(layer)
        yield Weight(name="decoder.layer_norm.weight", shape=(self.width,))
        if not self.tied:
            yield Weight(
                name="final_proj.weight",
                shape=(self.vocabulary, self.width),
                divided=self.output_divided,
            )

    def _layer_weights(self, layer: int) -> Iterator[Weight]:
        def matrix(name: str, rows: int, columns: int, divided: int) -> Weight:
            return Weight(
                name=f"decoder.layers.{layer}.{name}.weight",
                shape=(rows, columns),
                divided=divided,
                layer=layer,
                multiplies=True,
            )

        def vector(name: str, size: int, divided: int | None = None) -> Weight:
            full_name = f"decoder.layers.{layer}.{name}"
            return Weight(name=full_name, shape=(size,), divided=divided, layer=layer)

        queries = self.num_heads * self.head_width
        keys = self.num_key_value_heads * self.head_width
        yield vector("self_attn_layer_norm.weight", self.width)
        for name, rows in (("q_proj", queries), ("k_proj", keys), ("v_proj", keys)):
            yield matrix(f"self_attn.{name}", rows, self.width, 0)
            if self.attention_bias:
                yield vector(f"self_attn.{name}.bias", rows, 0)
        yield matrix("self_attn.output_proj", self.width, queries, 1)
        for name, size in (("q_norm", self.query_norm), ("k_norm", self.key_norm)):
            if size is not None:
                yield vector(f"self_attn.{name}.weight", size)
        yield vector("ffn_layer_norm.weight", self.width)
        yield matrix("ffn.gate_proj", self.inner, self.width, 0)
        yield matrix("ffn.inner_proj", self.inner, self.width, 0)
        yield matrix("ffn.output_proj", self.width, self.inner, 1)
