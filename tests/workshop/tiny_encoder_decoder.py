"""Tiny NLLB models from random weights, and a vocabulary with language pieces: fixtures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import sentencepiece
import torch
from fairseq2.data.tokenizers import Tokenizer
from fairseq2.device import CPU
from fairseq2.models.nllb import NllbConfig, create_nllb_model
from fairseq2.models.transformer import TransformerModel

from sekd_plugin.toolkits.fairseq2.sequence_to_sequence.batch import collate_pairs
from sekd_plugin.toolkits.fairseq2.sequence_to_sequence.encoding import Direction
from sekd_plugin.toolkits.fairseq2.sequence_to_sequence.student import model_inputs
from sekd_plugin.toolkits.fairseq2.tokenizer_file import load_tokenizer

PAD, UNKNOWN, BEGIN, END = 0, 1, 2, 3
LANGUAGES = ["eng_Latn", "deu_Latn"]


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
    batch = collate_pairs(sources, targets, prefix=prefix, pad_index=PAD)
    trimmed, learnt = batch.as_auto_regressive()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        logits = model(*model_inputs(trimmed))[learnt.target_mask]
        torch.nn.functional.cross_entropy(logits, learnt.seqs[learnt.target_mask]).backward()
        optimizer.step()
    return model.eval()


@pytest.fixture(scope="session")
def language_pieces(shared_folder: Path) -> Tokenizer:
    """A vocabulary whose file holds no padding and no languages; the family adds them."""
    file = shared_folder / "languages.model"
    if not file.exists():
        sentencepiece.SentencePieceTrainer.train(
            input=str(shared_folder / "text.txt"),
            model_prefix=str(file.with_suffix("")),
            vocab_size=90,
            hard_vocab_limit=False,
            minloglevel=2,
        )
    settings = {"langs": LANGUAGES, "default_lang": LANGUAGES[0]}
    return load_tokenizer("nllb", file, CPU, settings)


@pytest.fixture
def direction(language_pieces: Tokenizer) -> Direction:
    """From English to German."""
    return Direction(tokenizer=language_pieces, source="eng_Latn", target="deu_Latn")
