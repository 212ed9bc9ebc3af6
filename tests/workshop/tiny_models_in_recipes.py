"""Settings that put tiny models and a tiny corpus into a shipped recipe; all else stays."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from fairseq2.gang import create_fake_gangs
from fairseq2.models import ModelFamily
from fairseq2.runtime.dependency import get_dependency_resolver
from model_families import FAMILIES
from tiny_encoder_decoder import PAIR_MODEL

from sekd_plugin.recipes_folder import recipes_folder

FOLDER = recipes_folder()
FILES = sorted(path.relative_to(FOLDER) for path in FOLDER.rglob("*.yaml"))
"""Every recipe, found here so that a new one cannot be forgotten."""

LANGUAGES = ["ces_Latn", "deu_Latn", "eng_Latn"]
SHAPES: Mapping[str, Mapping[str, object]] = {
    "llama": FAMILIES["llama"][1],
    "qwen": FAMILIES["qwen3"][1],
    "olmo": FAMILIES["olmo2"][1],
    "nllb": PAIR_MODEL,
}
"""fairseq2's family → what a tiny model of it looks like; teacher and student are of one size."""

STEPS = 2
_MODEL_FAMILY: type[ModelFamily] = ModelFamily


def read(recipe: Path) -> dict[str, Any]:
    """A recipe's content as it is written."""
    content = yaml.safe_load((FOLDER / recipe).read_text(encoding="utf-8"))
    assert isinstance(content, dict)
    return content


def save_model(family: str, folder: Path) -> Path:
    """A tiny model from random weights, as a native checkpoint's model folder."""
    found = get_dependency_resolver().resolve(_MODEL_FAMILY, key=family)
    shape = found.config_kls(**SHAPES[family])
    file = folder / "pp_00" / "tp_00" / "sdp_00.pt"
    if not file.exists():
        file.parent.mkdir(parents=True)
        torch.manual_seed(0)
        gangs = create_fake_gangs(torch.device("cpu"))
        model = found.create_new_model(shape, gangs, torch.float32, False, False)
        torch.save(model.state_dict(), file)
    return folder


@dataclass(frozen=True)
class Workbench:
    """What is put into recipes."""

    corpus: Path
    """The folder of the corpus and the vocabulary."""

    languages: Path
    """The vocabulary with language pieces."""

    models: Path
    """The folder of the models."""

    def model(self, section: Mapping[str, Any], *, is_read: bool) -> dict[str, Any]:
        """A section with a tiny model of its family, from a checkpoint or from random weights."""
        family = section["family"]
        small: dict[str, Any] = {"family": family, "config_overrides": dict(SHAPES[family])}
        if is_read:
            small["path"] = str(save_model(family, self.models / family))
        return small | {key: value for key, value in section.items() if key == "dtype"}

    def settings(self, content: Mapping[str, Any]) -> list[str]:
        """Settings to lay over a recipe."""
        is_nllb = content["model"]["family"] == "nllb"
        words: dict[str, object] = {
            "family": "llama",
            "path": str(self.corpus / "vocabulary.model"),
        }
        if is_nllb:
            words = {"family": "nllb", "path": str(self.languages)}
            words["config_overrides"] = {"langs": LANGUAGES}
        laid: dict[str, object] = {
            "model": self.model(content["model"], is_read="path" in content["model"]),
            "tokenizer": words,
            "dataset.batch_tokens": 256,
            "lr_scheduler.config.num_warmup_steps": 0,
            "regime.num_steps": STEPS,
            "regime.publish_metrics_every_n_steps": 1,
            "regime.validate_every_n_steps": STEPS,
            "regime.checkpoint_every_n_steps": STEPS,
            "regime.export_hugging_face": False,
            "trainer.gc_every_n_steps": None,
            "common.metric_recorders.tensorboard.enabled": False,
        }
        if "teacher" in content:
            laid["teacher"] = self.model(content["teacher"], is_read=True)
        for split in ("train", "valid"):
            laid[f"dataset.{split}"] = [
                {**file, "path": str(self.corpus / f"{split}.jsonl")}
                for file in content["dataset"].get(split, [{}])
            ]
        return [f"{key}={json.dumps(value)}" for key, value in laid.items()]
