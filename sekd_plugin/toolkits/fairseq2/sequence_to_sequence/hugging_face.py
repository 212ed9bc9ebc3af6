"""NLLB models as Hugging Face publishes them, read by fairseq2's family ``nllb``.

fairseq2 0.8.1 reads only fairseq's checkpoints of them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final, cast

from fairseq2.models.family import StandardModelFamily
from fairseq2.models.nllb import NllbConfig, convert_nllb_state_dict
from fairseq2.models.utils.checkpoint import convert_state_dict
from fairseq2.runtime.dependency import DependencyResolver
from torch import Tensor

from sekd_plugin.errors import DataError
from sekd_plugin.toolkits.fairseq2.sequence_to_sequence.export import FIRST_WORDS

LANGUAGES_FILE: Final = "special_tokens_map.json"
"""Where a published NLLB names its languages, in the vocabulary's order."""

_NAMES: Final = {
    r"^model\.(en|de)coder\.layers\.([0-9]+)\.self_attn\.out_proj\.": (
        r"\1coder.layers.\2.self_attn.output_proj."
    ),
    r"^model\.decoder\.layers\.([0-9]+)\.encoder_attn\.out_proj\.": (
        r"decoder.layers.\1.encoder_decoder_attn.output_proj."
    ),
    r"^model\.decoder\.layers\.([0-9]+)\.encoder_attn": r"decoder.layers.\1.encoder_decoder_attn",
    r"^model\.(en|de)coder\.layers\.([0-9]+)\.fc1\.": r"\1coder.layers.\2.ffn.inner_proj.",
    r"^model\.(en|de)coder\.layers\.([0-9]+)\.fc2\.": r"\1coder.layers.\2.ffn.output_proj.",
    r"^model\.(en|de)coder\.layers\.([0-9]+)\.final_layer_norm\.": (
        r"\1coder.layers.\2.ffn_layer_norm."
    ),
    r"^model\.(en|de)coder\.(layers|layer_norm)\.": r"\1coder.\2.",
}
"""Names of parameters in ``transformers`` → fairseq2's; the first that fits is taken."""

_TABLES: Final = (
    "model.shared.weight",
    "lm_head.weight",
    "model.encoder.embed_tokens.weight",
    "model.decoder.embed_tokens.weight",
)
"""The one table of words, under every name that it may be saved by."""

_COMPUTED: Final = (
    "model.encoder.embed_positions.weights",
    "model.decoder.embed_positions.weights",
)
"""Positions, which older files hold and fairseq2 computes."""


def exported_languages(folder: Path) -> list[str] | None:
    """The languages that an exported model's folder names, or None where it names none.

    Raises:
        DataError: its file cannot be read.
    """
    file = folder / LANGUAGES_FILE
    if not file.is_file():
        return None
    try:
        named = json.loads(file.read_text(encoding="utf-8")).get("additional_special_tokens")
    except (OSError, ValueError, AttributeError) as error:
        raise DataError(file, f"cannot be read as JSON: {error}") from None
    if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        return None
    return cast("list[str]", named)


def convert_published_state(state_dict: dict[str, object], config: NllbConfig) -> dict[str, object]:
    """The parameters of a checkpoint under fairseq2's names, whoever has written it."""
    found = [state_dict[name] for name in _TABLES if name in state_dict]
    if not found:
        return convert_nllb_state_dict(state_dict, config)
    published = cast(Tensor, found[0])
    table = published.clone()
    table[FIRST_WORDS] = published[: len(FIRST_WORDS)]
    left_out = {*_TABLES, *_COMPUTED}
    rest = {name: value for name, value in state_dict.items() if name not in left_out}
    return {
        "encoder_frontend.embed.weight": table,
        "decoder_frontend.embed.weight": table,
        "final_proj.weight": table,
        **convert_state_dict(rest, _NAMES),
    }


def read_published_nllb(resolver: DependencyResolver, family: Any) -> Any:
    """fairseq2's family, which then reads Hugging Face's folders too."""
    if not isinstance(family, StandardModelFamily):
        raise TypeError(f"StandardModelFamily was expected, not {type(family).__name__}")
    family._state_dict_converter = convert_published_state
    return family
