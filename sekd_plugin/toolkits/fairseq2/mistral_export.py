"""The Hugging Face export of Mistral models, which fairseq2 0.8.1 does not have."""

from __future__ import annotations

from typing import Final, cast, final

from fairseq2.models.hg import HuggingFaceConfig, HuggingFaceConverter
from fairseq2.models.mistral import MistralConfig
from fairseq2.models.utils.checkpoint import convert_state_dict
from fairseq2.utils.config import cast_config_type
from torch import Tensor
from typing_extensions import override

ROTARY_BASE: Final = 10_000.0
"""Fixed in fairseq2's Mistral."""

NORM_EPSILON: Final = 1e-5
"""Likewise."""

_NAMES: Final = {
    r"^decoder\.layers\.([0-9]+)\.self_attn\.q_proj\.": r"model.layers.\1.self_attn.q_proj.",
    r"^decoder\.layers\.([0-9]+)\.self_attn\.k_proj\.": r"model.layers.\1.self_attn.k_proj.",
    r"^decoder\.layers\.([0-9]+)\.self_attn\.v_proj\.": r"model.layers.\1.self_attn.v_proj.",
    r"^decoder\.layers\.([0-9]+)\.self_attn\.output_proj\.": r"model.layers.\1.self_attn.o_proj.",
    r"^decoder\.layers\.([0-9]+)\.self_attn_layer_norm\.": r"model.layers.\1.input_layernorm.",
    r"^decoder\.layers\.([0-9]+)\.ffn_layer_norm\.": r"model.layers.\1.post_attention_layernorm.",
    r"^decoder\.layers\.([0-9]+)\.ffn\.gate_proj\.": r"model.layers.\1.mlp.gate_proj.",
    r"^decoder\.layers\.([0-9]+)\.ffn\.inner_proj\.": r"model.layers.\1.mlp.up_proj.",
    r"^decoder\.layers\.([0-9]+)\.ffn\.output_proj\.": r"model.layers.\1.mlp.down_proj.",
    r"^decoder\.layer_norm\.": r"model.norm.",
    r"^decoder_frontend\.embed\.": r"model.embed_tokens.",
    r"^final_proj\.": r"lm_head.",
}
"""fairseq2's names of parameters → those of ``transformers``."""


@final
class MistralHuggingFaceConverter(HuggingFaceConverter):
    """From fairseq2's Mistral to ``MistralForCausalLM``."""

    @override
    def to_hg_config(self, config: object) -> HuggingFaceConfig:
        """The sizes; special tokens are the vocabulary's, and are put in after the export."""
        config = cast_config_type(config, MistralConfig)
        data = {
            "vocab_size": config.vocab_size,
            "hidden_size": config.model_dim,
            "intermediate_size": config.ffn_inner_dim,
            "num_hidden_layers": config.num_layers,
            "num_attention_heads": config.num_attn_heads,
            "num_key_value_heads": config.num_key_value_heads,
            "head_dim": config.model_dim // config.num_attn_heads,
            "max_position_embeddings": config.max_seq_len,
            "sliding_window": config.attn_window_len,
            "rope_theta": ROTARY_BASE,
            "rms_norm_eps": NORM_EPSILON,
            "tie_word_embeddings": False,
        }
        return HuggingFaceConfig(data, kls_name="MistralConfig", arch="MistralForCausalLM")

    @override
    def to_hg_state_dict(self, state_dict: dict[str, object], config: object) -> dict[str, object]:
        """The parameters under their other names; fairseq2 keeps pairs of a rotation side by side.

        ``transformers`` keeps the first halves of all pairs of a head before the second halves.
        """
        config = cast_config_type(config, MistralConfig)
        width = config.model_dim // config.num_attn_heads
        renamed = convert_state_dict(state_dict, _NAMES)
        for number in range(config.num_layers):
            for name in ("q_proj", "k_proj"):
                key = f"model.layers.{number}.self_attn.{name}.weight"
                weight = cast(Tensor, renamed[key])
                pairs = weight.reshape(-1, width // 2, 2, config.model_dim)
                renamed[key] = pairs.transpose(1, 2).reshape(weight.shape)
        return renamed
