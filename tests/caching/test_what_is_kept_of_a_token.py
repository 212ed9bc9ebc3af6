"""Which words of a token are kept, what is said of the rest, and in how many bytes."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sekd_plugin import ConfigError
from sekd_plugin.teachers.cache.packing import bytes_per_token, pack_rows, unpack_rows
from sekd_plugin.teachers.likeliest import Likeliest, ListedRows, list_likeliest


def defined(logits, temperature, top_k, top_p):
    """Words, the probabilities of all words, and how many are listed: in plain Python."""
    scaled = [value / temperature for value in logits]
    top = max(scaled)
    weights = [math.exp(value - top) for value in scaled]
    probabilities = [weight / math.fsum(weights) for weight in weights]
    order = sorted(range(len(logits)), key=lambda word: -probabilities[word])
    listed, mass = [], 0.0
    for word in order[:top_k]:
        if listed and (mass >= top_p < 1.0 or probabilities[word] == 0.0):
            break
        listed.append(word)
        mass += probabilities[word]
    return listed, probabilities


@given(
    st.integers(0, 10**6),
    st.integers(1, 14),
    st.sampled_from([0.05, 0.5, 0.9, 0.999, 1.0]),
    st.sampled_from([0.5, 1.0, 2.0]),
)
def test_the_likeliest_words_and_the_rest_are_those_of_the_definition(seed, k, p, temperature):
    draw = torch.Generator().manual_seed(seed)
    logits = 3.0 * torch.randn(5, 12, generator=draw, dtype=torch.float64)
    logits[0, 4] = -math.inf
    targets = torch.randint(12, (5,), generator=draw)
    rows = list_likeliest(logits, targets, temperature, Likeliest(top_k=k, top_p=p))
    for row in range(5):
        listed, exact = defined(logits[row].tolist(), temperature, k, p)
        held = ~torch.isneginf(rows.log_probabilities[row])
        assert rows.words[row][held].tolist() == listed
        for word, log_p in zip(listed, rows.log_probabilities[row][held].tolist(), strict=True):
            assert log_p == pytest.approx(math.log(exact[word]), rel=1e-6, abs=1e-6)
        tail = math.fsum(exact[word] for word in range(12) if word not in listed)
        assert math.exp(rows.log_tail[row]) == pytest.approx(tail, rel=1e-5, abs=1e-12)
        gold = exact[int(targets[row])]
        assert math.exp(rows.log_gold[row]) == pytest.approx(gold, rel=1e-5, abs=0)
        entropy = -math.fsum(p * math.log(p) for p in exact if p > 0.0)
        assert -float(rows.negative_entropy[row]) == pytest.approx(entropy, rel=1e-5, abs=1e-6)


def test_places_that_list_nothing_repeat_the_first_word():
    logits = torch.tensor([[0.0, 9.0, 1.0], [0.0, 0.0, 0.1]])
    rows = list_likeliest(logits, torch.tensor([0, 1]), 1.0, Likeliest(top_k=3, top_p=0.9))
    assert rows.words[0].tolist() == [1, 1, 1]
    assert rows.log_probabilities[0, 1:].tolist() == [-math.inf, -math.inf]
    assert not torch.isneginf(rows.log_probabilities[1]).any()


@pytest.mark.parametrize(
    ("settings", "key"),
    [({"top_k": 0}, "top_k"), ({"top_p": 0.0}, "top_p"), ({"top_p": 1.1}, "top_p")],
)
def test_a_number_of_words_out_of_range_is_refused(settings, key):
    with pytest.raises(ConfigError, match=f"^{key}: "):
        Likeliest(**settings)


def listed_rows(seed=0, count=40, words=12, vocabulary=300, top_p=0.95, spread=4.0):
    draw = torch.Generator().manual_seed(seed)
    logits = spread * torch.randn(count, vocabulary, generator=draw)
    targets = torch.randint(vocabulary, (count,), generator=draw)
    return list_likeliest(logits, targets, 1.0, Likeliest(top_k=words, top_p=top_p))


@pytest.mark.parametrize("bits", [16, 32])
@pytest.mark.parametrize("vocabulary", [300, 65_536, 65_537, 200_000])
def test_packed_rows_come_back(vocabulary, bits):
    rows = listed_rows(vocabulary=vocabulary, count=6)
    back = unpack_rows(pack_rows(rows, vocabulary, bits), 2.0)
    held = ~torch.isneginf(rows.log_probabilities)
    width = back.indices.shape[1]
    assert torch.equal(back.indices, rows.words[:, :width])
    assert torch.equal(~torch.isneginf(back.log_probabilities), held[:, :width])
    assert torch.equal(back.log_tail, rows.log_tail)
    assert torch.equal(back.log_gold, rows.log_gold)
    assert back.temperature == 2.0
    if bits == 32:
        assert torch.equal(back.log_probabilities, rows.log_probabilities[:, :width])


@given(st.integers(0, 10**6), st.sampled_from([0.5, 4.0, 30.0]), st.integers(1, 12))
def test_a_probability_in_16_bits_is_off_by_half_a_place_at_most(seed, spread, words):
    rows = listed_rows(seed=seed, spread=spread, words=words)
    back = unpack_rows(pack_rows(rows, 300, 16), 1.0)
    exact = rows.log_probabilities[:, : back.indices.shape[1]]
    held = ~torch.isneginf(exact)
    least = exact.masked_fill(~held, 0.0).amin(-1, keepdim=True)
    allowed = (least.abs() / 131_070 + 3e-7 * exact.abs()).expand_as(exact)
    assert ((back.log_probabilities - exact).abs() <= allowed)[held].all()


def test_one_certain_word_is_certain_again():
    rows = ListedRows(
        words=torch.tensor([[7]]),
        log_probabilities=torch.zeros(1, 1),
        log_tail=torch.tensor([-math.inf]),
        log_gold=torch.zeros(1),
        negative_entropy=torch.zeros(1),
    )
    assert unpack_rows(pack_rows(rows, 10, 16), 1.0).log_probabilities.item() == 0.0


@pytest.mark.parametrize(("vocabulary", "bits"), [(300, 16), (300, 32), (100_000, 16)])
def test_a_token_takes_the_bytes_that_are_stated(vocabulary, bits):
    rows = listed_rows(vocabulary=vocabulary, count=20)
    packed = pack_rows(rows, vocabulary, bits)
    size = sum(each.numel() * each.element_size() for each in packed.values())
    words = float((~torch.isneginf(rows.log_probabilities)).sum()) / 20
    assert size / 20 == pytest.approx(bytes_per_token(words, vocabulary, bits))
