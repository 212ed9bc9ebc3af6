"""From a recipe's model section to the shape of the model: nothing is built or loaded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fairseq2.models.llama import LLaMAConfig
from fairseq2.models.mistral import MistralConfig
from fairseq2.models.nllb import NllbConfig
from fairseq2.models.olmo import OLMOConfig
from fairseq2.models.qwen import QwenConfig
from fairseq2.recipe.config import ModelSection, ReferenceModelSection
from fairseq2.runtime.dependency import DependencyResolver

from sekd_plugin.errors import ConfigError
from sekd_plugin.memory.decoder_shape import DecoderShape, PositionTable
from sekd_plugin.memory.model_shape import ModelShape
from sekd_plugin.toolkits.fairseq2.model_config import model_config
from sekd_plugin.toolkits.fairseq2.sequence_to_sequence.shape import nllb_shape

_SIZES = (
    "num_attn_heads",
    "num_key_value_heads",
    "num_layers",
    "vocab_size",
    "model_dim",
    "num_encoder_layers",
    "num_decoder_layers",
    "num_encoder_attn_heads",
    "num_decoder_attn_heads",
)
"""Settings that must be 1 or more, where a family has them."""


def model_shape(
    key: str, section: ModelSection | ReferenceModelSection, resolver: DependencyResolver
) -> ModelShape:
    """The shape of the model of a section, ``model`` or ``teacher``.

    Raises:
        ConfigError: family, architecture, name or an override is not known, the family is none
            that can be planned, or its numbers contradict each other.
    """
    _, config = model_config(key, section, resolver)
    shape_of = _SHAPES.get(type(config))
    if shape_of is None:
        families = ", ".join(kind.__name__.removesuffix("Config").lower() for kind in _SHAPES)
        raise ConfigError(
            f"{key}.family",
            f"'{section.family}' cannot be planned; known: {families}",
        )
    _check_sizes(key, config)
    return shape_of(config)


def _check_sizes(key: str, config: Any) -> None:
    place = f"{key}.config_overrides"
    for name in _SIZES:
        value = getattr(config, name, 1)
        if value < 1:
            raise ConfigError(f"{place}.{name}", f"{value} is out of range; it must be 1 or more")
    shared_by = getattr(config, "num_key_value_heads", 1)
    if shared_by > 1 and config.num_attn_heads % shared_by:
        raise ConfigError(
            f"{place}.num_key_value_heads",
            f"{shared_by} does not divide num_attn_heads, {config.num_attn_heads}",
        )


def _llama(config: LLaMAConfig) -> DecoderShape:
    inner = int(config.ffn_inner_dim * config.ffn_inner_dim_multiplier)
    if config.ffn_inner_dim_scale != 1.0:
        inner = int(inner * config.ffn_inner_dim_scale)
    multiple = config.ffn_inner_dim_multiple_of
    head_width = config.model_dim // config.num_attn_heads
    return DecoderShape(
        width=config.model_dim,
        layers=config.num_layers,
        num_heads=config.num_attn_heads,
        num_key_value_heads=config.num_key_value_heads,
        head_width=head_width,
        inner=-(-inner // multiple) * multiple,
        vocabulary=config.vocab_size,
        tied=config.tied_embeddings,
        dropout=config.dropout_p > 0.0,
        embedding_divided=1 if config.shard_embed_dim else 0,
        positions=_complex_table(config.max_seq_len, head_width),
    )


def _qwen(config: QwenConfig) -> DecoderShape:
    head_width = config.head_dim or config.model_dim // config.num_attn_heads
    return DecoderShape(
        width=config.model_dim,
        layers=config.num_layers,
        num_heads=config.num_attn_heads,
        num_key_value_heads=config.num_key_value_heads,
        head_width=head_width,
        inner=config.ffn_inner_dim,
        vocabulary=config.vocab_size,
        tied=config.tied_embeddings,
        attention_bias=config.qkv_proj_bias,
        query_norm=head_width if config.q_norm else None,
        key_norm=head_width if config.k_norm else None,
        dropout=config.dropout_p > 0.0,
        embedding_divided=0,
        positions=_two_tables(config.max_seq_len, head_width),
    )


def _mistral(config: MistralConfig) -> DecoderShape:
    head_width = config.model_dim // config.num_attn_heads
    return DecoderShape(
        width=config.model_dim,
        layers=config.num_layers,
        num_heads=config.num_attn_heads,
        num_key_value_heads=config.num_key_value_heads,
        head_width=head_width,
        inner=config.ffn_inner_dim,
        vocabulary=config.vocab_size,
        dropout=config.dropout_p > 0.0,
        output_divided=None,
        positions=_complex_table(config.max_seq_len, head_width),
    )


def _olmo(config: OLMOConfig) -> DecoderShape:
    head_width = config.model_dim // config.num_attn_heads
    return DecoderShape(
        width=config.model_dim,
        layers=config.num_layers,
        num_heads=config.num_attn_heads,
        num_key_value_heads=config.num_key_value_heads,
        head_width=head_width,
        inner=config.ffn_inner_dim,
        vocabulary=config.vocab_size,
        tied=config.tied_embeddings,
        query_norm=config.num_attn_heads * head_width,
        key_norm=config.num_key_value_heads * head_width,
        norms_before=False,
        composed_norms=True,
        num_masks=1 if config.sliding_window is None else 2,
        dropout=config.dropout_p > 0.0,
        embedding_divided=1 if config.shard_embed_dim else 0,
        positions=_two_tables(config.max_seq_len, head_width),
    )


def _complex_table(longest: int, head_width: int) -> PositionTable:
    """One complex number for each pair of a head's numbers; the first row is for padding."""
    return PositionTable(rows=longest + 1, row_numbers=head_width)


def _two_tables(longest: int, head_width: int) -> PositionTable:
    """A cosine and a sine for each of a head's numbers."""
    return PositionTable(rows=longest + 1, row_numbers=2 * head_width)


_SHAPES: dict[type[Any], Callable[[Any], ModelShape]] = {
    LLaMAConfig: _llama,
    QwenConfig: _qwen,
    MistralConfig: _mistral,
    OLMOConfig: _olmo,
    NllbConfig: nllb_shape,
}
