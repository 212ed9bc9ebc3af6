"""Qwen's and OLMo's own vocabularies: folders of Hugging Face, with special pieces behind."""

import pytest
import torch
from fairseq2.device import CPU
from folder_vocabulary import PIECES

from sekd_plugin.corpus import PromptTemplate
from sekd_plugin.errors import ConfigError
from sekd_plugin.toolkits.fairseq2.export import generation_settings, special_words
from sekd_plugin.toolkits.fairseq2.prompts import PromptedPairs
from sekd_plugin.toolkits.fairseq2.tokenizer_file import load_tokenizer
from sekd_plugin.toolkits.fairseq2.vocabulary import check_sizes, padding_index


@pytest.mark.parametrize(
    ("family", "overrides", "special"),
    [
        ("qwen", None, (None, PIECES, None)),
        ("qwen", {"use_im_end": True}, (None, PIECES + 1, PIECES)),
        ("olmo", None, (PIECES, PIECES, PIECES + 2)),
    ],
)
def test_the_special_pieces_are_the_familys(vocabulary_folder, family, overrides, special):
    tokenizer = load_tokenizer(family, vocabulary_folder, CPU, overrides)
    begin, end, pad = special
    words = special_words(tokenizer)
    assert tuple(words.values()) == special

    text = "open the file\n"
    pairs = PromptedPairs(tokenizer, PromptTemplate("{source}\n"))
    prompt = pairs.encode_source("open the file")
    assert prompt[:1] == [begin] or begin is None
    pieces = prompt if begin is None else prompt[1:]
    assert tokenizer.create_decoder()(torch.tensor(pieces)) == text and max(pieces) < PIECES
    assert pairs.encode_target("das rote dokument")[-1] == end
    assert padding_index(tokenizer) == (end if pad is None else pad)

    never = generation_settings(words).get("suppress_tokens", [])
    assert never == sorted({begin, pad} - {None, end})


def test_a_model_must_have_room_for_the_pieces_that_the_vocabulary_does_not_count(
    vocabulary_folder,
):
    info = load_tokenizer("olmo", vocabulary_folder, CPU).vocab_info
    assert info.size == PIECES
    with pytest.raises(ConfigError, match=rf"{PIECES} words, the tokenizer {PIECES + 3}"):
        check_sizes("model", size=PIECES, pad=None, info=info)
    check_sizes("model", size=PIECES + 3, pad=None, info=info)
