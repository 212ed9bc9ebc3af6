"""The shape of a model from the Hugging Face ``config.json`` that lies beside its weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fairseq2.models.llama import LLAMA_FAMILY
from fairseq2.models.nllb import NLLB_FAMILY
from fairseq2.models.olmo import OLMO_FAMILY
from fairseq2.models.qwen import QWEN_FAMILY

from sekd_plugin.errors import DataError

Shape = tuple[str, dict[str, Any]]
"""A family of fairseq2 and the settings of its model."""

_SIZES = {
    "model_dim": "hidden_size",
    "max_seq_len": "max_position_embeddings",
    "vocab_size": "vocab_size",
    "num_layers": "num_hidden_layers",
    "num_attn_heads": "num_attention_heads",
    "num_key_value_heads": "num_key_value_heads",
    "ffn_inner_dim": "intermediate_size",
}
"""fairseq2's name of a size → Hugging Face's."""

_PAIR_SIZES = {
    "model_dim": "d_model",
    "max_seq_len": "max_position_embeddings",
    "vocab_size": "vocab_size",
    "num_encoder_layers": "encoder_layers",
    "num_decoder_layers": "decoder_layers",
    "num_encoder_attn_heads": "encoder_attention_heads",
    "num_decoder_attn_heads": "decoder_attention_heads",
    "ffn_inner_dim": "encoder_ffn_dim",
}
"""The same of models with an encoder."""

_SCALING = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")


def exported_shape(file: Path, *, pad_idx: int | None) -> Shape:
    """The family of fairseq2 that reads a Hugging Face model, and the settings for it.

    Mistral is read as Llama, whose family reads Hugging Face's names: the two are one model up to
    the length of Mistral's window, and longer sequences are refused.

    Args:
        file: ``config.json``.
        pad_idx: the id of the vocabulary's padding piece; a published model states none.

    Raises:
        DataError: it is not the configuration of a model that fairseq2 computes alike, or lacks
            a size.
    """
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(file, f"cannot be read as JSON: {error}") from None
    kind = config.get("model_type") if isinstance(config, dict) else None
    if kind not in _KINDS:
        raise DataError(file, f"model_type is {kind!r}; it must be one of {', '.join(_KINDS)}")
    names = _SIZES_OF.get(kind, _SIZES)
    for theirs in names.values():
        if not isinstance(config.get(theirs), int):
            raise DataError(file, f"{theirs} is {config.get(theirs)!r}; it must be a whole number")
    family, settings = _KINDS[kind](file, config)
    sizes = {ours: config[theirs] for ours, theirs in names.items()}
    if family != QWEN_FAMILY:
        settings["pad_idx"] = pad_idx
    return family, {**sizes, **settings}


def _llama(file: Path, config: Mapping[str, Any]) -> Shape:
    _check_epsilon(file, config, "Llama", fixed=1e-5)
    # The inner size is stated as it is, not to be scaled and rounded up as Llama's papers do.
    settings: dict[str, Any] = {
        "ffn_inner_dim_scale": 1.0,
        "ffn_inner_dim_multiplier": 1.0,
        "ffn_inner_dim_multiple_of": 1,
        "rope_theta": _base(config),
        "tied_embeddings": _tied(config),
        "shard_embed_dim": False,
    }
    scaling = config.get("rope_scaling")
    if scaling is not None:
        kind = scaling.get("rope_type") if isinstance(scaling, dict) else None
        if kind != "llama3" or not all(
            isinstance(scaling.get(key), int | float) for key in _SCALING
        ):
            raise DataError(file, f"rope_scaling is {scaling!r}; only rope_type 'llama3' is read")
        factor, low, high, length = (scaling[key] for key in _SCALING)
        settings["use_scaled_rope"] = True
        settings["rope_scale"] = {
            "factor": float(factor),
            "frequency_factors": [float(low), float(high)],
            "original_context_length": int(length),
        }
    return LLAMA_FAMILY, settings


def _mistral(file: Path, config: Mapping[str, Any]) -> Shape:
    heads, width = config["num_attention_heads"], config["hidden_size"]
    if config.get("head_dim") not in (None, width // heads):
        raise DataError(
            file,
            f"head_dim is {config['head_dim']}; fairseq2's Llama, as which Mistral is read, has "
            f"hidden_size / num_attention_heads, {width // heads}",
        )
    _, settings = _llama(file, config)
    window = config.get("sliding_window")
    if window is not None:
        settings["max_seq_len"] = min(window, config["max_position_embeddings"])
    return LLAMA_FAMILY, settings


def _qwen2(file: Path, config: Mapping[str, Any]) -> Shape:
    return QWEN_FAMILY, {**_qwen(file, config), "qkv_proj_bias": True}


def _qwen3(file: Path, config: Mapping[str, Any]) -> Shape:
    norms = {"q_norm": True, "k_norm": True}
    return QWEN_FAMILY, {**_qwen(file, config), "qkv_proj_bias": False, **norms}


def _qwen(file: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    _check_epsilon(file, config, "Qwen", fixed=1e-6)
    _refuse(file, config, "rope_scaling", "use_sliding_window")
    return {
        "head_dim": config.get("head_dim"),
        "rope_theta": _base(config),
        "tied_embeddings": _tied(config),
    }


def _olmo2(file: Path, config: Mapping[str, Any]) -> Shape:
    _refuse(file, config, "rope_scaling", "attention_bias")
    return OLMO_FAMILY, {
        "bos_token_id": config.get("bos_token_id"),
        "eos_token_id": config.get("eos_token_id"),
        "rms_norm_eps": float(config.get("rms_norm_eps", 1e-5)),
        "rope_theta": _base(config),
        "tied_embeddings": _tied(config),
        "shard_embed_dim": False,
    }


def _olmo3(file: Path, config: Mapping[str, Any]) -> Shape:
    family, settings = _olmo2(file, config)
    windows = {key: config.get(key) for key in ("sliding_window", "layer_types")}
    return family, {**settings, **windows}


def _m2m_100(file: Path, config: Mapping[str, Any]) -> Shape:
    """NLLB, which ``transformers`` computes as the M2M-100 that it is."""
    computed = {
        "decoder_ffn_dim": config["encoder_ffn_dim"],
        "activation_function": "relu",
        "scale_embedding": True,
        "tie_word_embeddings": True,
    }
    for key, value in computed.items():
        if config.get(key, value) != value:
            raise DataError(file, f"{key} is {config[key]!r}; fairseq2's NLLB has {value!r}")
    return NLLB_FAMILY, {}


def _check_epsilon(file: Path, config: Mapping[str, Any], name: str, *, fixed: float) -> None:
    epsilon = config.get("rms_norm_eps", fixed)
    if epsilon != fixed:
        raise DataError(file, f"rms_norm_eps is {epsilon!r}; fairseq2's {name} has {fixed}")


def _refuse(file: Path, config: Mapping[str, Any], *keys: str) -> None:
    """What fairseq2 has no counterpart of must be absent, null or false."""
    for key in keys:
        if config.get(key):
            raise DataError(file, f"{key} is {config[key]!r}; fairseq2 computes no such model")


def _base(config: Mapping[str, Any]) -> float:
    return float(config.get("rope_theta", 10_000.0))


def _tied(config: Mapping[str, Any]) -> bool:
    return bool(config.get("tie_word_embeddings", False))


_KINDS: dict[str, Callable[[Path, Mapping[str, Any]], Shape]] = {
    "llama": _llama,
    "mistral": _mistral,
    "qwen2": _qwen2,
    "qwen3": _qwen3,
    "olmo2": _olmo2,
    "olmo3": _olmo3,
    "m2m_100": _m2m_100,
}
"""What ``transformers`` calls a model → how its configuration is read."""

_SIZES_OF = {"m2m_100": _PAIR_SIZES}
"""Where sizes have other names than :data:`_SIZES`."""
