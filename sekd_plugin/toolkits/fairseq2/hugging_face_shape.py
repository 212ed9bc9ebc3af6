"""The shape of a Llama model from the ``config.json`` that lies beside its weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sekd_plugin.errors import DataError

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

_SCALING = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")

_EPSILON = 1e-5
"""Of the normalisation, fixed in fairseq2's Llama."""


def llama_shape(file: Path, *, pad_idx: int | None) -> dict[str, Any]:
    """The settings of fairseq2's Llama model that a Hugging Face configuration describes.

    Args:
        file: ``config.json``.
        pad_idx: the id of the vocabulary's padding piece; a published model states none.

    Raises:
        DataError: it is not a Llama model's configuration, or lacks a size.
    """
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(file, f"cannot be read as JSON: {error}") from None
    kind = config.get("model_type") if isinstance(config, dict) else None
    if kind != "llama":
        raise DataError(file, f"model_type is {kind!r}; of a folder by itself only 'llama' is read")
    for theirs in _SIZES.values():
        if not isinstance(config.get(theirs), int):
            raise DataError(file, f"{theirs} is {config.get(theirs)!r}; it must be a whole number")
    epsilon = config.get("rms_norm_eps", _EPSILON)
    if epsilon != _EPSILON:
        raise DataError(file, f"rms_norm_eps is {epsilon!r}; fairseq2's Llama has {_EPSILON}")
    shape: dict[str, Any] = {ours: config[theirs] for ours, theirs in _SIZES.items()}
    # The inner size is stated as it is, not to be scaled and rounded up as Llama's papers do.
    shape |= {
        "ffn_inner_dim_scale": 1.0,
        "ffn_inner_dim_multiplier": 1.0,
        "ffn_inner_dim_multiple_of": 1,
        "rope_theta": float(config.get("rope_theta", 10_000.0)),
        "tied_embeddings": bool(config.get("tie_word_embeddings", False)),
        "pad_idx": pad_idx,
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
        shape["use_scaled_rope"] = True
        shape["rope_scale"] = {
            "factor": float(factor),
            "frequency_factors": [float(low), float(high)],
            "original_context_length": int(length),
        }
    return shape
