"""Qwen's and OLMo's own vocabularies: folders of Hugging Face, with special pieces behind."""

import pytest
import torch
from fairseq2.device import CPU
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerFast

from sekd_plugin.corpus import PromptTemplate
from sekd_plugin.errors import ConfigError
from sekd_plugin.toolkits.fairseq2.export import generation_settings, special_words
from sekd_plugin.toolkits.fairseq2.prompts import encode_prompt, encode_target
from sekd_plugin.toolkits.fairseq2.tokenizer_file import load_tokenizer
from sekd_plugin.toolkits.fairseq2.vocabulary import check_sizes, padding_index

PIECES = 290
SPECIAL = ["<|endoftext|>", "<|im_end|>", "<|pad|>"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, shared_folder):
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


@pytest.mark.parametrize(
    ("family", "overrides", "special"),
    [
        ("qwen", None, (None, PIECES, None)),
        ("qwen", {"use_im_end": True}, (None, PIECES + 1, PIECES)),
        ("olmo", None, (PIECES, PIECES, PIECES + 2)),
    ],
)
def test_the_special_pieces_are_the_familys(folder, family, overrides, special):
    tokenizer = load_tokenizer(family, folder, CPU, overrides)
    begin, end, pad = special
    words = special_words(tokenizer)
    assert tuple(words.values()) == special

    text = "open the file\n"
    prompt = encode_prompt(tokenizer, PromptTemplate("{source}\n"), "open the file")
    assert prompt[:1] == [begin] or begin is None
    pieces = prompt if begin is None else prompt[1:]
    assert tokenizer.create_decoder()(torch.tensor(pieces)) == text and max(pieces) < PIECES
    assert encode_target(tokenizer, "das rote dokument")[-1] == end
    assert padding_index(tokenizer) == (end if pad is None else pad)

    never = generation_settings(words).get("suppress_tokens", [])
    assert never == sorted({begin, pad} - {None, end})


def test_a_model_must_have_room_for_the_pieces_that_the_vocabulary_does_not_count(folder):
    info = load_tokenizer("olmo", folder, CPU).vocab_info
    assert info.size == PIECES
    with pytest.raises(ConfigError, match=rf"{PIECES} words, the tokenizer {PIECES + 3}"):
        check_sizes("model", size=PIECES, pad=None, info=info)
    check_sizes("model", size=PIECES + 3, pad=None, info=info)
