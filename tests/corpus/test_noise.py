"""Noise spoils the share that it says, differently for every seed, and nothing else."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekd_plugin.corpus import SentencePair
from sekd_plugin.corpus.noise import Noise, add_noise, check_noise
from sekd_plugin.errors import ConfigError


def pairs_of(count):
    return [
        SentencePair(f"source {n}", f"t{n} of the number {n}", Path("file.jsonl"), n + 1)
        for n in range(count)
    ]


shares = st.floats(0.0, 1.0).flatmap(
    lambda first: st.tuples(st.just(first), st.floats(0.0, 1.0 - first))
)


@given(st.integers(0, 60), shares, st.integers(0, 99))
def test_so_many_pairs_are_spoilt_and_all_keep_source_and_place(count, both, seed):
    pairs = pairs_of(count)
    noise = Noise(misaligned=both[0], mistranslated=both[1], seed=seed)
    spoilt = add_noise(pairs, noise)
    assert [(p.source, p.file, p.line) for p in spoilt] == [
        (p.source, p.file, p.line) for p in pairs
    ]
    changed = [new.target for old, new in zip(pairs, spoilt, strict=True) if old != new]
    whole = {pair.target for pair in pairs}
    misaligned = sum(target in whole for target in changed)
    asked = round(both[0] * count)
    assert misaligned == (asked if asked != 1 else 0), "one pair alone has nobody to exchange with"
    assert len(changed) - misaligned <= round(both[1] * count)
    assert add_noise(iter(pairs), noise) == spoilt


@given(st.integers(2, 60), st.floats(0.0, 1.0))
def test_misaligned_pairs_exchange_their_translations_among_them(count, share):
    spoilt = add_noise(pairs_of(count), Noise(misaligned=share))
    assert Counter(p.target for p in spoilt) == Counter(p.target for p in pairs_of(count))


def test_half_of_the_words_of_a_mistranslated_sentence_are_of_other_sentences():
    pairs = pairs_of(400)
    spoilt = add_noise(pairs, Noise(mistranslated=1.0))
    known = {word for pair in pairs for word in pair.target.split()}
    other = 0
    for old, new in zip(pairs, spoilt, strict=True):
        words, before = new.target.split(), old.target.split()
        assert len(words) == len(before) and set(words) <= known
        differ = sum(a != b for a, b in zip(words, before, strict=True))
        assert differ <= round(0.5 * len(before))
        other += differ
    # Five words each, two of them drawn; of the file's words three fifths are in every sentence.
    assert 1.2 < other / len(pairs) < 2.0


def test_another_seed_spoils_others_and_none_spoils_nothing():
    pairs = pairs_of(50)
    assert add_noise(pairs, Noise(misaligned=0.3)) != add_noise(
        pairs, Noise(misaligned=0.3, seed=2)
    )
    assert add_noise(pairs, Noise()) == pairs


@pytest.mark.parametrize(
    ("noise", "key"),
    [
        (Noise(misaligned=1.1), "misaligned"),
        (Noise(mistranslated=-0.1), "mistranslated"),
        (Noise(misaligned=0.6, mistranslated=0.6), "mistranslated"),
        (Noise(seed=-1), "seed"),
    ],
)
def test_shares_that_cannot_be_are_refused(noise, key):
    with pytest.raises(ConfigError) as caught:
        check_noise(noise)
    assert caught.value.key == key
