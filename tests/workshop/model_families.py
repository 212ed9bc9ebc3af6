"""Tiny models of every decoder-only family that people distil, and teachers trained once."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_recipe import MODEL, Workshop

SIZES = {
    "model_dim": 16,
    "max_seq_len": 128,
    "vocab_size": 300,
    "num_layers": 1,
    "num_attn_heads": 2,
    "num_key_value_heads": 2,
    "ffn_inner_dim": 32,
}
FAMILIES: dict[str, tuple[str, dict[str, object]]] = {
    "llama": ("llama", MODEL),
    "mistral": (
        "mistral",
        {**SIZES, "pad_idx": 3, "num_key_value_heads": 1, "attn_window_len": 8},
    ),
    "qwen2": ("qwen", {**SIZES, "num_key_value_heads": 1, "tied_embeddings": True}),
    "qwen3": (
        "qwen",
        {**SIZES, "head_dim": 12, "qkv_proj_bias": False, "q_norm": True, "k_norm": True},
    ),
    "olmo2": ("olmo", {**SIZES, "pad_idx": 3, "num_key_value_heads": 1}),
    "olmo3": ("olmo", {**SIZES, "pad_idx": 3, "num_layers": 2, "sliding_window": 8}),
}
"""What ``transformers`` calls a model → fairseq2's family and the settings of a tiny one.

Windows are shorter than the sentences, heads of ``qwen3`` wider than its width has room for.
"""


def settings_of(section: str, kind: str, path: Path | None = None, **overrides: object) -> str:
    """The command-line setting that makes a section a model of a kind."""
    family, shape = FAMILIES[kind]
    value: dict[str, object] = {"family": family, "config_overrides": {**shape, **overrides}}
    if path is not None:
        value["path"] = str(path)
    return f"{section}={json.dumps(value)}"


@pytest.fixture(scope="session")
def families_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the teachers are kept."""
    return tmp_path_factory.mktemp("families")


@pytest.fixture
def taught_families(workshop: Workshop, families_folder: Path) -> Callable[..., str]:
    """A function from a kind and settings to the setting of such a teacher, trained once."""

    def teacher(kind: str, **overrides: object) -> str:
        name = "_".join([kind, *(f"{key}{value}" for key, value in overrides.items())])
        kept = families_folder / name
        if not kept.is_dir():
            workshop.train(name, settings_of("model", kind, **overrides))
            os.rename(workshop.folder / name, kept)
        return settings_of("teacher", kind, kept / "checkpoints/step_8/model", **overrides)

    return teacher
