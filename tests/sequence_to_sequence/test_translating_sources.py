"""Batches and caches change nothing: each source is translated as if alone."""

from functools import cache

import pytest
import torch
from fairseq2.nn import BatchLayout
from tiny_encoder_decoder import BEGIN, END, PAD, memorise, tiny_model

from sekd_plugin.errors import SekdError
from sekd_plugin.toolkits.fairseq2.sequence_to_sequence.decoding import translate_sources

WORDS, PREFIX, ROOM = 40, (END, 38), 12
SOURCES = [[37, *(4 + (5 * n + 3 * m) % 30 for m in range(1 + n % 5)), END] for n in range(15)]


TARGETS = [[4 + (3 * n + m * m) % 30 for m in range(n % 7)] + [END] for n in range(15)]


@cache
def make_model(seed):
    """Trained a little, in float64 so that no two words tie by rounding."""
    model = tiny_model(WORDS, seed, max_seq_len=20)
    return memorise(model, SOURCES, TARGETS, PREFIX, steps=40 + 20 * seed).double()


@torch.no_grad()
def greedy_loop(model, source):
    translation = []
    while len(translation) < ROOM:
        sources, read = torch.tensor([source]), torch.tensor([[*PREFIX, *translation]])
        logits = model(sources, BatchLayout.of(sources), read, BatchLayout.of(read))[0, -1]
        logits[[PAD, BEGIN]] = -torch.inf
        word = int(logits.argmax())
        if word == END:
            break
        translation.append(word)
    return translation


def translate(model, sources, **options):
    return translate_sources(
        model,
        [torch.tensor(source) for source in sources],
        prefix=PREFIX,
        eos_index=END,
        pad_index=PAD,
        banned=[BEGIN],
        **{"max_length": ROOM, **options},
    )


@pytest.mark.parametrize("batch_tokens", [1, 9, 8192])
def test_greedy_search_equals_a_loop_over_sentences(batch_tokens):
    lengths = set()
    for seed in range(3):
        model = make_model(seed)
        expected = [greedy_loop(model, source) for source in SOURCES]
        assert translate(model, SOURCES, batch_tokens=batch_tokens) == expected
        lengths |= set(map(len, expected))
    assert len(lengths) >= 3


def test_a_source_that_is_too_long_is_refused_by_its_name():
    with pytest.raises(SekdError, match="line 7: the sentence has 21 tokens, and the model takes"):
        translate(make_model(0), [[5] * 21], names=["line 7"])


def test_a_translation_ends_where_the_models_longest_sequence_does():
    model = tiny_model(WORDS, 1, max_seq_len=20)  # untrained, it repeats a word for ever
    (found,) = translate(model, SOURCES[:1], max_length=100)
    assert len(found) == 19


def test_a_model_whose_outputs_are_not_numbers_is_refused():
    model = tiny_model(WORDS, 1).train()
    with torch.no_grad():
        model.final_proj.weight[7] = torch.nan
    with pytest.raises(SekdError, match="not numbers"):
        translate(model, SOURCES[:1])
    assert model.training
