"""A tiny corpus, a vocabulary and a recipe that trains in about a second: fixtures.

A folder of tests imports them in its conftest.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import sentencepiece
import yaml

from sekd_plugin.cli import main

WORDS = {
    "open": "öffne", "close": "schließe", "the": "das", "file": "dokument", "window": "fenster",
    "red": "rote", "small": "kleine", "and": "und", "now": "jetzt", "menu": "menü",
}  # fmt: skip
MODEL = {
    "model_dim": 16,
    "max_seq_len": 128,
    "vocab_size": 300,
    "pad_idx": 3,
    "num_layers": 1,
    "num_attn_heads": 2,
    "num_key_value_heads": 2,
    "ffn_inner_dim": 32,
    "ffn_inner_dim_multiple_of": 8,
}


def write_pairs(file: Path, count: int, seed: int) -> Path:
    """Sentences of a made-up language and their word-by-word translation."""
    draw = random.Random(seed)
    with file.open("w", encoding="utf-8") as out:
        for _ in range(count):
            words = draw.choices(list(WORDS), k=draw.randint(2, 9))
            pair = {"src": " ".join(words), "tgt": " ".join(WORDS[word] for word in words)}
            out.write(json.dumps(pair, ensure_ascii=False) + "\n")
    return file


@dataclass(frozen=True)
class Workshop:
    """Where a test trains, and how."""

    folder: Path
    recipe: Path
    capture: Callable[[], tuple[str, str]]

    def train(self, run: str, *settings: str, expect: int = 0) -> str:
        """Train in this process; return what was printed to standard error."""
        self.capture()
        code = main(["train", str(self.folder / run), *self.arguments(settings)])
        error = self.capture()[1]
        assert code == expect, error
        return error

    def sekd(self, *arguments: object, expect: int = 0) -> str:
        """Run another command in this process; what it printed, or its error."""
        self.capture()
        code = main([str(argument) for argument in arguments])
        out, error = self.capture()
        assert code == expect, error
        return out if code == 0 else error

    def arguments(self, settings: Sequence[str]) -> list[str]:
        """The recipe and the settings that replace its own."""
        return ["--config-file", str(self.recipe), *(["--config", *settings] if settings else [])]

    def start(self, run: str, *settings: str, processes: int = 0) -> subprocess.Popen[str]:
        """Start training in a process of its own, or in several under torchrun."""
        launcher = [sys.executable]
        if processes:
            launcher += ["-m", "torch.distributed.run", "--standalone"]
            launcher += ["--nproc-per-node", str(processes)]
        command = [*launcher, "-m", "sekd_plugin", "train", str(self.folder / run)]
        return subprocess.Popen(
            [*command, *self.arguments(settings)],
            stderr=subprocess.STDOUT,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    def checkpoint(self, run: str, step: int) -> Path:
        """The model's folder of a checkpoint."""
        return self.folder / run / "checkpoints" / f"step_{step}" / "model"

    def teacher(self, run: str, step: int) -> str:
        """The setting that makes a run's checkpoint the teacher."""
        section = {
            "path": str(self.checkpoint(run, step)),
            "family": "llama",
            "config_overrides": MODEL,
        }
        return f"teacher={json.dumps(section)}"

    def metrics(self, run: str, split: str = "train") -> list[dict[str, float]]:
        """The lines of a metrics file."""
        text = (self.folder / run / "metrics" / f"{split}.jsonl").read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus and the vocabulary, made once."""
    folder = tmp_path_factory.mktemp("corpus")
    write_pairs(folder / "train.jsonl", 120, seed=1)
    write_pairs(folder / "valid.jsonl", 24, seed=2)
    text = folder / "text.txt"
    lines = [
        part
        for line in (folder / "train.jsonl").read_text(encoding="utf-8").splitlines()
        for part in (f"to German: {json.loads(line)['src']}", json.loads(line)["tgt"])
    ]
    text.write_text("\n".join(lines), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(text),
        model_prefix=str(folder / "vocabulary"),
        vocab_size=300,
        pad_id=3,
        byte_fallback=True,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    return folder


@pytest.fixture
def workshop(tmp_path: Path, shared_folder: Path, capfd: pytest.CaptureFixture[str]) -> Workshop:
    """A folder of the test's own with a recipe for a tiny model."""
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        yaml.safe_dump(
            {
                "model": {"family": "llama", "config_overrides": MODEL},
                "tokenizer": {"family": "llama", "path": str(shared_folder / "vocabulary.model")},
                "dataset": {
                    "train": [{"path": str(shared_folder / "train.jsonl")}],
                    "valid": [{"path": str(shared_folder / "valid.jsonl")}],
                    "template": "to German: {source}\n",
                    "batch_tokens": 256,
                },
                "optimizer": {"config": {"lr": 0.01}},
                "regime": {
                    "num_steps": 8,
                    "publish_metrics_every_n_steps": 4,
                    "validate_every_n_steps": 8,
                    "checkpoint_every_n_steps": 8,
                },
            }
        ),
        encoding="utf-8",
    )
    return Workshop(tmp_path, recipe, lambda: tuple(capfd.readouterr()))  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def teacher_run(tmp_path_factory: pytest.TempPathFactory, shared_folder: Path) -> Path:
    """Where :func:`taught` and :func:`exported` keep the runs that tests share."""
    return tmp_path_factory.mktemp("teacher")


@pytest.fixture
def taught(workshop: Workshop, teacher_run: Path) -> Workshop:
    """A workshop with a teacher, the run ``teacher``, trained once for all tests."""
    return with_shared_run(workshop, teacher_run, "teacher")


@pytest.fixture
def exported(workshop: Workshop, teacher_run: Path) -> Workshop:
    """A workshop with the run ``exported``, in the form of transformers too, for all tests."""
    return with_shared_run(workshop, teacher_run, "exported", "regime.export_hugging_face=true")


def with_shared_run(workshop: Workshop, place: Path, run: str, *settings: str) -> Workshop:
    """Train a run the first time that it is asked for; later it is linked to."""
    trained = place / run
    if not trained.is_dir():
        workshop.train(run, *settings)
        os.rename(workshop.folder / run, trained)
    os.symlink(trained, workshop.folder / run)
    return workshop
