"""Tiny NLLB models from random weights, and a vocabulary with language pieces: fixtures."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
import sentencepiece
import torch
import yaml
from fairseq2.data.tokenizers import Tokenizer
from fairseq2.device import CPU
from fairseq2.models.nllb import NllbConfig, create_nllb_model
from fairseq2.models.transformer import TransformerModel
from tiny_recipe import Workshop

from sekd_plugin.recipes_folder import recipes_folder
from sekd_plugin.toolkits.fairseq2.sequence_to_sequence.batch import collate_pairs
from sekd_plugin.toolkits.fairseq2.sequence_to_sequence.encoding import Direction
from sekd_plugin.toolkits.fairseq2.sequence_to_sequence.student import model_inputs
from sekd_plugin.toolkits.fairseq2.tokenizer_file import load_tokenizer

PAD, UNKNOWN, BEGIN, END = 0, 1, 2, 3
LANGUAGES = ["eng_Latn", "deu_Latn"]
NLLB_RECIPE = recipes_folder() / "cluster" / "nllb_3b_to_600m.yaml"
PUBLISHED_LANGUAGES = yaml.safe_load(NLLB_RECIPE.read_text(encoding="utf-8"))["tokenizer"][
    "config_overrides"
]["langs"]
"""The languages of the published vocabulary, in its order."""
PAIR_MODEL = {
    "model_dim": 16,
    "max_seq_len": 64,
    "vocab_size": 100,
    "num_encoder_layers": 1,
    "num_decoder_layers": 1,
    "num_encoder_attn_heads": 2,
    "num_decoder_attn_heads": 2,
    "ffn_inner_dim": 32,
    "dropout_p": 0.0,
}
"""A recipe's settings of a tiny NLLB."""


def tiny_config(words: int, **settings: object) -> NllbConfig:
    """Two layers on either side; no dropout, so that two ways to compute agree."""
    return NllbConfig(
        **{
            "model_dim": 16,
            "max_seq_len": 64,
            "vocab_size": words,
            "num_encoder_layers": 2,
            "num_decoder_layers": 2,
            "num_encoder_attn_heads": 2,
            "num_decoder_attn_heads": 2,
            "ffn_inner_dim": 32,
            "dropout_p": 0.0,
            **settings,
        }
    )


def tiny_model(words: int, seed: int = 0, **settings: object) -> TransformerModel:
    """A model from random weights."""
    torch.manual_seed(seed)
    return create_nllb_model(tiny_config(words, **settings))


def memorise(
    model: TransformerModel,
    sources: Sequence[Sequence[int]],
    targets: Sequence[Sequence[int]],
    prefix: Sequence[int],
    steps: int = 60,
) -> TransformerModel:
    """Train a model on a handful of pairs; it then has opinions of its own on each source."""
    batch = collate_pairs(sources, targets, prefixes=[prefix] * len(sources), pad_index=PAD)
    trimmed, learnt = batch.as_auto_regressive()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        logits = model(*model_inputs(trimmed))[learnt.target_mask]
        torch.nn.functional.cross_entropy(logits, learnt.seqs[learnt.target_mask]).backward()
        optimizer.step()
    return model.eval()


@pytest.fixture(scope="session")
def language_file(shared_folder: Path) -> Path:
    """A SentencePiece file that holds no padding and no languages; the family adds them."""
    file = shared_folder / "languages.model"
    if not file.exists():
        sentencepiece.SentencePieceTrainer.train(
            input=str(shared_folder / "text.txt"),
            model_prefix=str(file.with_suffix("")),
            vocab_size=90,
            hard_vocab_limit=False,
            minloglevel=2,
        )
    return file


@pytest.fixture(scope="session")
def language_pieces(language_file: Path) -> Tokenizer:
    """The vocabulary of the file, with two languages."""
    return load_tokenizer("nllb", language_file, CPU, {"langs": LANGUAGES})


@pytest.fixture
def direction(language_pieces: Tokenizer) -> Direction:
    """From English to German."""
    return Direction(tokenizer=language_pieces, source="eng_Latn", target="deu_Latn")


@pytest.fixture
def pair_workshop(workshop: Workshop, language_file: Path) -> Workshop:
    """A workshop whose recipe is for a tiny NLLB."""
    recipe = yaml.safe_load(workshop.recipe.read_text(encoding="utf-8"))
    del recipe["dataset"]["template"]
    recipe["model"] = {"family": "nllb", "config_overrides": PAIR_MODEL}
    recipe["tokenizer"] = {
        "family": "nllb",
        "path": str(language_file),
        "config_overrides": {"langs": LANGUAGES},
    }
    recipe["dataset"] |= {"source_language": "eng_Latn", "target_language": "deu_Latn"}
    workshop.recipe.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return workshop


@pytest.fixture(scope="session")
def pair_teacher_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where :func:`pair_teacher` keeps its run."""
    return tmp_path_factory.mktemp("pair_teacher")


@pytest.fixture
def pair_teacher(pair_workshop: Workshop, pair_teacher_folder: Path) -> Path:
    """The checkpoint of a tiny NLLB, trained once for all tests."""
    kept = pair_teacher_folder / "teacher"
    if not kept.is_dir():
        steps = ("regime.num_steps=80", "regime.checkpoint_every_n_steps=80", "common.seed=5")
        pair_workshop.train("teacher", *steps)
        os.rename(pair_workshop.folder / "teacher", kept)
    return kept / "checkpoints/step_80/model"


def teacher_of(checkpoint: Path, **settings: object) -> str:
    """The setting that makes a checkpoint of a tiny NLLB the teacher."""
    section = {
        "path": str(checkpoint),
        "family": "nllb",
        "config_overrides": {**PAIR_MODEL, **settings},
    }
    return f"teacher={json.dumps(section)}"
