"""Batches, caches and reordering change nothing: each sentence is translated as if alone."""

import math

import pytest
import torch
from examples import fewer
from fairseq2.models.clm import CausalLM
from fairseq2.models.llama import LLaMAConfig
from fairseq2.models.llama.factory import create_llama_model
from fairseq2.nn import BatchLayout
from hypothesis import given, settings
from hypothesis import strategies as st
from search_loops import beam_loop, greedy_loop

from sekd_plugin.errors import SekdError
from sekd_plugin.toolkits.fairseq2.decoding import translate_prompts

END, PAD, WORDS = 2, 3, 24


def make_model(seed, eos_bias=1.5):
    """A tiny model with decided opinions, in float64 so that no two words tie by rounding."""
    torch.manual_seed(seed)
    config = LLaMAConfig(
        model_dim=16,
        max_seq_len=40,
        vocab_size=WORDS,
        pad_idx=PAD,
        num_layers=2,
        num_attn_heads=2,
        num_key_value_heads=2,
        ffn_inner_dim=32,
        ffn_inner_dim_multiple_of=8,
        init_std=0.7,
    )
    model = create_llama_model(config).double()
    with torch.no_grad():  # make the end likely enough that lengths differ
        model.final_proj.weight[END] *= eos_bias
    return model.eval()


MODELS = [make_model(seed) for seed in range(3)]


def next_log_probs(model, words, banned):
    seqs = torch.tensor([words])
    log_probs = model(seqs, BatchLayout.of(seqs))[0, -1].log_softmax(-1)
    for word in banned:
        log_probs[word] = -torch.inf
    return log_probs.tolist()


def greedy(model, prompt, room, banned):
    return greedy_loop(lambda words: next_log_probs(model, prompt + words, banned), room, END)


def beam(model, prompt, room, banned, beam_size, penalty):
    return beam_loop(
        lambda words: next_log_probs(model, prompt + words, banned), room, END, beam_size, penalty
    )


prompts = st.lists(
    st.lists(st.integers(4, WORDS - 1), min_size=1, max_size=7), min_size=1, max_size=8
)


@settings(max_examples=fewer(25))
@given(prompts, st.sampled_from(MODELS), st.integers(1, 10), st.sampled_from([1, 9, 8192]))
def test_greedy_search_equals_a_loop_over_sentences_whatever_the_batch(
    prompts, model, room, batch_tokens
):
    with torch.no_grad():
        expected = [greedy(model, prompt, room, [PAD]) for prompt in prompts]
    found = translate_prompts(
        model,
        [torch.tensor(prompt) for prompt in prompts],
        eos_index=END,
        pad_index=PAD,
        max_length=room,
        batch_tokens=batch_tokens,
    )
    assert found == expected


@settings(max_examples=fewer(15))
@given(
    prompts,
    st.sampled_from(MODELS),
    st.integers(1, 6),
    st.integers(2, 5),
    st.sampled_from([0.0, 0.6, 1.0, 1.5]),
    st.sampled_from([1, 40, 8192]),
)
def test_beam_search_equals_a_loop_that_never_stops_early(
    prompts, model, room, beam_size, penalty, batch_tokens
):
    with torch.no_grad():
        expected = [beam(model, prompt, room, [PAD, 1], beam_size, penalty) for prompt in prompts]
    found = translate_prompts(
        model,
        [torch.tensor(prompt) for prompt in prompts],
        eos_index=END,
        pad_index=PAD,
        max_length=room,
        beam_size=beam_size,
        length_penalty=penalty,
        banned=[1],
        batch_tokens=batch_tokens,
    )
    assert found == expected


def test_the_models_here_end_translations_at_different_lengths():
    prompts = [torch.tensor([4 + n, 5 + n]) for n in range(15)]
    lengths = set()
    for model in MODELS:
        for beam_size in (1, 3):
            found = translate_prompts(
                model, prompts, eos_index=END, pad_index=PAD, max_length=12, beam_size=beam_size
            )
            lengths |= {len(translation) for translation in found}
    assert len(lengths) >= 6


def test_words_that_are_banned_are_never_produced():
    prompts = [torch.tensor([4 + n]) for n in range(12)]
    free = translate_prompts(MODELS[0], prompts, eos_index=END, pad_index=PAD, max_length=8)
    popular = max(range(4, WORDS), key=lambda word: sum(t.count(word) for t in free))
    for beam_size in (1, 3):
        found = translate_prompts(
            MODELS[0],
            prompts,
            eos_index=END,
            pad_index=PAD,
            max_length=8,
            banned=[popular],
            beam_size=beam_size,
        )
        assert all(popular not in translation and PAD not in translation for translation in found)


def test_a_prompt_that_leaves_no_room_is_refused_by_its_name():
    with pytest.raises(SekdError, match="line 7: the prompt has 40 tokens, and the model takes 40"):
        translate_prompts(
            MODELS[0],
            [torch.full((40,), 5)],
            eos_index=END,
            pad_index=PAD,
            max_length=8,
            names=["line 7"],
        )


def test_a_translation_ends_where_the_models_longest_sequence_does():
    model = make_model(0, eos_bias=0.0)
    (found,) = translate_prompts(
        model, [torch.full((35,), 5)], eos_index=END, pad_index=PAD, max_length=100
    )
    assert len(found) == 5


def test_decoding_leaves_the_models_mode_as_it_was():
    model = make_model(1).train()
    translate_prompts(model, [torch.tensor([5])], eos_index=END, pad_index=PAD, max_length=3)
    assert model.training


@pytest.mark.parametrize("beam_size", [1, 3])
def test_a_translation_is_at_most_so_many_times_as_long_as_its_prompt(beam_size):
    model = make_model(0, eos_bias=0.0)
    prompts = [[5] * length for length in (1, 4, 2, 4, 3)]
    found = translate_prompts(
        model,
        [torch.tensor(prompt) for prompt in prompts],
        eos_index=END,
        pad_index=PAD,
        max_length=100,
        max_length_ratio=2.0,
        beam_size=beam_size,
    )
    search = greedy if beam_size == 1 else beam
    options = [] if beam_size == 1 else [beam_size, 1.0]
    with torch.no_grad():
        expected = [
            search(model, prompt, 10 + 2 * len(prompt), [PAD], *options) for prompt in prompts
        ]
    assert found == expected
    if beam_size == 1:
        assert max(map(len, found)) == 18


def test_a_model_whose_outputs_are_not_numbers_is_refused():
    model = make_model(0)
    with torch.no_grad():
        model.final_proj.weight[7] = torch.nan
    for beam_size in (1, 2):
        with pytest.raises(SekdError, match="not numbers"):
            translate_prompts(
                model,
                [torch.tensor([5])],
                eos_index=END,
                pad_index=PAD,
                max_length=3,
                beam_size=beam_size,
            )


class MarkovModel(CausalLM):
    """Next-word probabilities by the last word alone, written down by hand."""

    def __init__(self, table):
        super().__init__(max_seq_len=100)
        probabilities = torch.zeros(WORDS, WORDS, dtype=torch.float64)
        for word, following in table.items():
            for other, probability in following.items():
                probabilities[word, other] = probability
        self.register_buffer("log_table", probabilities.log())

    def forward(self, seqs, seqs_layout, targets=None, *, state_bag=None, **_):
        return self.log_table[seqs]

    def compute_fused_loss(self, *_, **__):
        raise NotImplementedError


def markov_translation(table, **options):
    (found,) = translate_prompts(
        MarkovModel(table),
        [torch.tensor([START])],
        eos_index=END,
        pad_index=PAD,
        max_length=12,
        beam_size=2,
        **options,
    )
    return found


START, A, B = 4, 5, 6


def test_a_search_goes_on_while_a_longer_translation_could_still_win():
    # The end scores −1 at once. B begins at −3, and at −1.5 with one word more would be lost, but
    # ends at (−3 + 10 ln 0.9 + ln 0.1) / 12 ≈ −0.53.
    end, later = math.exp(-1), math.exp(-3)
    table = {START: {END: end, B: later, PAD: 1 - end - later}, B: {B: 0.9, END: 0.1}}
    assert markov_translation(table) == [B] * 11


def test_a_finished_translation_takes_no_place_in_the_beam():
    # After the end, the likeliest two are A, which leads nowhere, and B, which ends for certain.
    table = {
        START: {END: 0.5, A: 0.3, B: 0.2},
        A: {word: 1 / 10 for word in range(7, 17)},
        B: {END: 1.0},
    }
    assert markov_translation(table, length_penalty=2.0) == [B]


def test_a_search_that_can_only_end_returns_the_empty_translation():
    assert markov_translation({START: {END: 1.0}}) == []


def test_a_search_that_cannot_end_returns_its_likeliest_words():
    assert markov_translation({START: {A: 0.6, B: 0.4}, A: {B: 1.0}, B: {A: 1.0}}) == [A, B] * 6
