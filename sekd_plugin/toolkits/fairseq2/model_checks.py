"""What can be found wrong with a model that a recipe names before it is loaded."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from fairseq2.recipe.config import ModelSection, ReferenceModelSection
from fairseq2.runtime.dependency import DependencyResolver

from sekd_plugin.errors import ConfigError, did_you_mean
from sekd_plugin.toolkits.fairseq2.model_config import model_config


def check_model(
    key: str, section: ModelSection | ReferenceModelSection, resolver: DependencyResolver
) -> None:
    """Check a section's family, its settings, and that its weights are there.

    Raises:
        ConfigError: what is wrong, in one line.
    """
    if section.family is not None:
        # By its family alone: a name may stand for what fairseq2 learns of only as it starts.
        family, _ = model_config(key, dataclasses.replace(section, name=None), resolver)
        if section.config_overrides is not None and dataclasses.is_dataclass(family.config_kls):
            _check_tied_embeddings(key, section, family.config_kls)
    if section.path is not None:
        check_checkpoint(f"{key}.path", section.path)


def check_checkpoint(key: str, path: Path) -> None:
    """Check that ``path`` holds a model: fairseq2's folders, or a Hugging Face folder or file.

    Raises:
        ConfigError: it does not exist or holds no checkpoint.
    """
    if not path.exists():
        near = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        raise ConfigError(key, f"{path} does not exist; {did_you_mean(path.name, near)}")
    if path.is_file():
        holds = path.suffix in (".pt", ".pth", ".bin", ".safetensors")
    else:
        holds = any(path.glob("*.safetensors")) or any(path.glob("pp_*/tp_*/sdp_*.pt"))
    if not holds:
        hint = ""
        if (path / "checkpoints").is_dir():
            steps = sorted(step.name for step in (path / "checkpoints").glob("step_*"))
            last = steps[-1] if steps else "step_N"
            hint = f"; it is a training folder: name {path}/checkpoints/{last}/model"
        elif any(path.glob("*.bin")):
            hint = (
                "; fairseq2 reads a folder's .safetensors only: save the .bin files once more, by "
                "save_pretrained of transformers"
            )
        raise ConfigError(key, f"{path} holds no model checkpoint{hint}")


def stated_sizes(
    section: ModelSection | ReferenceModelSection, resolver: DependencyResolver
) -> tuple[int | None, int | None]:
    """Vocabulary size and padding id of a model by its section; None where only a card says it."""
    if section.family is None or section.name is not None:
        return None, None
    _, shape = model_config("model", section, resolver)
    size, pad = (getattr(shape, key, None) for key in ("vocab_size", "pad_idx"))
    return size if isinstance(size, int) else None, pad if isinstance(pad, int) else None


def _check_tied_embeddings(
    key: str, section: ModelSection | ReferenceModelSection, kind: type[Any]
) -> None:
    """fairseq2 ties the output to the embeddings only where these are not cut by dimension."""
    defaults = {field.name: field.default for field in dataclasses.fields(kind)}
    overrides = cast("Mapping[str, object]", section.config_overrides)
    chosen = {**defaults, **overrides}
    if section.arch is None and chosen.get("tied_embeddings") and chosen.get("shard_embed_dim"):
        raise ConfigError(
            f"{key}.config_overrides.shard_embed_dim",
            "must be false with tied_embeddings: true",
        )
