"""From the configuration of an NLLB model to its shape."""

from __future__ import annotations

from fairseq2.models.nllb import NllbConfig

from sekd_plugin.memory.encoder_decoder_shape import EncoderDecoderShape


def nllb_shape(config: NllbConfig) -> EncoderDecoderShape:
    """The shape of the model that fairseq2 builds."""
    return EncoderDecoderShape(
        width=config.model_dim,
        inner=config.ffn_inner_dim,
        vocabulary=config.vocab_size,
        encoder_layers=config.num_encoder_layers,
        decoder_layers=config.num_decoder_layers,
        encoder_heads=config.num_encoder_attn_heads,
        decoder_heads=config.num_decoder_attn_heads,
        dropout=config.dropout_p > 0.0,
        positions=config.max_seq_len + 1,  # the first row is for padding
    )
