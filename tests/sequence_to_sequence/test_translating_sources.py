"""Batches and caches change nothing: each source is translated as if alone."""

from functools import cache

import pytest
import torch
from fairseq2.nn import BatchLayout
from search_loops import beam_loop, greedy_loop
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


def next_log_probs(model, source):
    """From the words of a translation to log-probabilities of the next: all is read anew."""

    @torch.no_grad()
    def read(words):
        sources, given = torch.tensor([source]), torch.tensor([[*PREFIX, *words]])
        logits = model(sources, BatchLayout.of(sources), given, BatchLayout.of(given))[0, -1]
        log_probs = logits.log_softmax(-1)
        log_probs[[PAD, BEGIN]] = -torch.inf
        return log_probs.tolist()

    return read


def translate(model, sources, **options):
    return translate_sources(
        model,
        [torch.tensor(source) for source in sources],
        eos_index=END,
        pad_index=PAD,
        banned=[BEGIN],
        **{"max_length": ROOM, "prefixes": [PREFIX] * len(sources), **options},
    )


@pytest.mark.parametrize("batch_tokens", [1, 9, 8192])
def test_greedy_search_equals_a_loop_over_sentences(batch_tokens):
    lengths = set()
    for seed in range(3):
        model = make_model(seed)
        expected = [greedy_loop(next_log_probs(model, source), ROOM, END) for source in SOURCES]
        assert translate(model, SOURCES, batch_tokens=batch_tokens) == expected
        lengths |= set(map(len, expected))
    assert len(lengths) >= 3


@pytest.mark.parametrize(("batch_tokens", "beam_size"), [(1, 2), (40, 3), (8192, 4)])
def test_beam_search_equals_a_loop_that_never_stops_early(batch_tokens, beam_size):
    room, penalty = 6, 0.8
    for seed in range(3):
        model = make_model(seed)
        expected = [
            beam_loop(next_log_probs(model, source), room, END, beam_size, penalty)
            for source in SOURCES
        ]
        found = translate(
            model,
            SOURCES,
            max_length=room,
            beam_size=beam_size,
            length_penalty=penalty,
            batch_tokens=batch_tokens,
        )
        assert found == expected


def test_languages_may_differ_within_a_batch():
    model = tiny_model(WORDS, 2, max_seq_len=20).double().eval()
    prefixes = [(END, 36 + number % 4) for number in range(len(SOURCES))]
    found = translate(model, SOURCES, prefixes=prefixes, max_length=5)
    alone = [
        translate(model, [source], prefixes=[prefix], max_length=5)[0]
        for source, prefix in zip(SOURCES, prefixes, strict=True)
    ]
    assert found == alone
    assert found != translate(model, SOURCES, max_length=5)


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
