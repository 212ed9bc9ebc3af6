"""The Hugging Face export of NLLB models, which fairseq2 0.8.1 does not have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast, final

from fairseq2.models.hg import HuggingFaceConfig, HuggingFaceConverter
from fairseq2.models.nllb import NllbConfig
from fairseq2.models.utils.checkpoint import convert_state_dict
from fairseq2.utils.config import cast_config_type
from torch import Tensor
from typing_extensions import override

from sekd_plugin.toolkits.fairseq2.export import LONGEST_TRANSLATION
from sekd_plugin.toolkits.fairseq2.sequence_to_sequence.encoding import Direction, languages_of

_NAMES: Final = {
    r"^(en|de)coder\.layers\.([0-9]+)\.self_attn\.output_proj\.": (
        r"model.\1coder.layers.\2.self_attn.out_proj."
    ),
    r"^decoder\.layers\.([0-9]+)\.encoder_decoder_attn\.output_proj\.": (
        r"model.decoder.layers.\1.encoder_attn.out_proj."
    ),
    r"^decoder\.layers\.([0-9]+)\.encoder_decoder_attn": r"model.decoder.layers.\1.encoder_attn",
    r"^(en|de)coder\.layers\.([0-9]+)\.ffn\.inner_proj\.": r"model.\1coder.layers.\2.fc1.",
    r"^(en|de)coder\.layers\.([0-9]+)\.ffn\.output_proj\.": r"model.\1coder.layers.\2.fc2.",
    r"^(en|de)coder\.layers\.([0-9]+)\.ffn_layer_norm\.": (
        r"model.\1coder.layers.\2.final_layer_norm."
    ),
    r"^(en|de)coder\.(layers|layer_norm)\.": r"model.\1coder.\2.",
}
"""fairseq2's names of parameters → those of ``transformers``; the first that fits is taken."""

FIRST_WORDS: Final = [2, 0, 3, 1]
"""Where ``<s> <pad> </s> <unk>``, the order of ``transformers``, stand in fairseq2's vocabulary."""

_BEGIN, _PAD, _END = 0, 1, 2

_SPECIAL_WORDS: Final = {
    "bos_token_id": _BEGIN,
    "pad_token_id": _PAD,
    "eos_token_id": _END,
    "decoder_start_token_id": _END,
}
"""The ids that every published NLLB model has in ``transformers``."""


@final
class NllbHuggingFaceConverter(HuggingFaceConverter):
    """From fairseq2's NLLB to ``M2M100ForConditionalGeneration``, with its ids of special words."""

    @override
    def to_hg_config(self, config: object) -> HuggingFaceConfig:
        """The sizes, and the ids that every published NLLB model has in ``transformers``."""
        config = cast_config_type(config, NllbConfig)
        data = {
            "vocab_size": config.vocab_size,
            "d_model": config.model_dim,
            "max_position_embeddings": config.max_seq_len,
            "encoder_layers": config.num_encoder_layers,
            "num_hidden_layers": config.num_encoder_layers,
            "decoder_layers": config.num_decoder_layers,
            "encoder_attention_heads": config.num_encoder_attn_heads,
            "decoder_attention_heads": config.num_decoder_attn_heads,
            "encoder_ffn_dim": config.ffn_inner_dim,
            "decoder_ffn_dim": config.ffn_inner_dim,
            "encoder_layerdrop": 0.0,
            "decoder_layerdrop": 0.0,
            "dropout": config.dropout_p,
            "activation_function": "relu",
            "scale_embedding": True,
            "tie_word_embeddings": True,
            **_SPECIAL_WORDS,
        }
        return HuggingFaceConfig(
            data, kls_name="M2M100Config", arch="M2M100ForConditionalGeneration"
        )

    @override
    def to_hg_state_dict(self, state_dict: dict[str, object], config: object) -> dict[str, object]:
        """The parameters under their other names; one table of words serves three places."""
        cast_config_type(config, NllbConfig)
        rest = dict(state_dict)
        table = cast(Tensor, rest.pop("final_proj.weight"))
        del rest["encoder_frontend.embed.weight"], rest["decoder_frontend.embed.weight"]
        reordered = table.clone()
        reordered[: len(FIRST_WORDS)] = table[FIRST_WORDS]
        return {"model.shared.weight": reordered, **convert_state_dict(rest, _NAMES)}


class NllbMending:
    """The exports of NLLB models: how to search, and what the vocabulary's languages are."""

    def __init__(self, direction: Direction) -> None:
        """What is exported.

        Args:
            direction: from which language to which, as the model's files have it.
        """
        self._direction = direction

    def problem(self, config: Mapping[str, Any]) -> str | None:
        """There is none."""
        return None

    def config(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """As it was written."""
        return dict(config)

    def beside(self) -> dict[str, dict[str, Any]]:
        """Greedy search into the recipe's language, and the names of special words.

        With the vocabulary's file beside them, as ``sentencepiece.bpe.model``, they make up a
        tokenizer of ``transformers``. Languages have the same ids there.
        """
        direction = self._direction
        languages = languages_of(direction.tokenizer)
        first = min(
            Direction(tokenizer=direction.tokenizer, source=name, target=name).prefix[-1]
            for name in languages
        )
        special = dict(enumerate(("<s>", "<pad>", "</s>", "<unk>")))
        added = special | dict(enumerate([*languages, "<mask>"], first))
        words = {
            "bos_token": "<s>",
            "eos_token": "</s>",
            "unk_token": "<unk>",
            "sep_token": "</s>",
            "cls_token": "<s>",
            "pad_token": "<pad>",
            "mask_token": "<mask>",
            "additional_special_tokens": languages,
        }
        return {
            "generation_config.json": {
                **_SPECIAL_WORDS,
                "forced_bos_token_id": direction.prefix[-1],
                "do_sample": False,
                "max_new_tokens": LONGEST_TRANSLATION,
                "suppress_tokens": [_BEGIN, _PAD],
            },
            "special_tokens_map.json": words,
            "tokenizer_config.json": {
                **words,
                # transformers would give the mask the first language's id.
                "added_tokens_decoder": {
                    str(number): {"content": piece, "special": True}
                    for number, piece in added.items()
                },
                "tokenizer_class": "NllbTokenizer",
                "src_lang": direction.source,
                "tgt_lang": direction.target,
            },
        }
