"""A vocabulary in a folder, as Hugging Face saves one: a fixture."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerFast

PIECES = 290
SPECIAL = ["<|endoftext|>", "<|im_end|>", "<|pad|>"]


@pytest.fixture(scope="session")
def vocabulary_folder(tmp_path_factory: pytest.TempPathFactory, shared_folder: Path) -> Path:
    """A byte-level vocabulary of :data:`PIECES` with the special pieces added behind."""
    made = Tokenizer(BPE())
    made.pre_tokenizer = ByteLevel(add_prefix_space=False)
    made.decoder = ByteLevelDecoder()
    alphabet = ByteLevel.alphabet()
    trainer = BpeTrainer(vocab_size=PIECES, initial_alphabet=alphabet, show_progress=False)
    made.train([str(shared_folder / "text.txt")], trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=made)
    fast.add_special_tokens({"additional_special_tokens": SPECIAL})
    target = tmp_path_factory.mktemp("vocabulary")
    fast.save_pretrained(target)
    return target
