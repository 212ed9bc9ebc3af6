"""The form that text is kept in, the form it is compared in, and the filters."""

from __future__ import annotations

import statistics
import unicodedata
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekd_plugin.corpus.clean import clean_text, comparison_key, text_hash
from sekd_plugin.corpus.filters import Duplicates, Reason, unfit
from sekd_plugin.corpus.holdout import HoldoutSample
from sekd_plugin.corpus.length_statistics import length_summary
from sekd_plugin.corpus.settings import PreparationSettings
from sekd_plugin.errors import ConfigError

TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@given(TEXT)
def test_clean_text_has_single_spaces_no_controls_and_stays_as_it_is(text: str) -> None:
    clean = clean_text(text)
    assert clean == " ".join(clean.split())
    assert not any(unicodedata.category(character) == "Cc" for character in clean)
    assert unicodedata.is_normalized("NFC", clean)
    assert clean_text(clean) == clean


@given(st.text("abcäöüßéčřŁ ﬁ½Ⅷ…\u00a0\u3000\t", max_size=30))
def test_case_spacing_and_width_do_not_change_the_comparison_key(text: str) -> None:
    variants = [
        text.swapcase(),
        text.upper(),
        f"  {text}\t",
        text.replace(" ", "\u00a0 \n"),
        unicodedata.normalize("NFD", text),
        unicodedata.normalize("NFKC", text),
    ]
    assert {comparison_key(variant) for variant in variants} == {comparison_key(text)}


def test_what_cannot_be_seen_does_not_change_the_comparison_key() -> None:
    seen = "Öffne das Dokument jetzt"
    hidden = "\ufeffÖff\u00adne das Do\u200bku\u2060ment \u200ejetzt"
    assert comparison_key(hidden) == comparison_key(seen)
    # A combining mark joins its letter though something invisible stands between them.
    assert comparison_key("O\u200d\u0308ffne das Dokument jetzt") == comparison_key(seen)


def test_different_words_have_different_comparison_keys() -> None:
    words = ["open", "opens", "o pen", "öpen", "open.", ""]
    assert len({comparison_key(word) for word in words}) == len(words)


@given(st.lists(st.lists(TEXT, max_size=3).map(tuple), unique=True))
def test_hashes_tell_texts_apart_also_where_they_are_cut_differently(
    groups: list[tuple[str, ...]],
) -> None:
    assert len({text_hash(*group) for group in groups}) == len(groups)
    assert all(0 <= text_hash(*group) < 2**64 for group in groups)


@pytest.mark.parametrize(
    ("source", "target", "reason"),
    [
        ("", "b", Reason.EMPTY),
        ("a a", "", Reason.EMPTY),
        ("a", "b b", Reason.TOO_SHORT),
        ("a a", "b", Reason.TOO_SHORT),
        ("a a a a a", "b b b", Reason.TOO_LONG),
        ("a a", "b b b b b", Reason.TOO_LONG),
        ("a a", "b bbbbbbbbbbbbbbbbbbb", Reason.TOO_LONG),
        ("a a", "b bbbbbbbb", Reason.RATIO),
        ("a aaaaaaaa", "b b", Reason.RATIO),
        ("A a", "a A", Reason.COPY),
        ("a a", "b bbbbbbb", None),
        ("a a a a", "b b", None),
    ],
)
def test_each_limit_gives_its_reason(source: str, target: str, reason: Reason | None) -> None:
    limits = PreparationSettings(
        min_words=2, max_words=4, max_characters=20, max_ratio=3.0, drop_copies=True
    )
    assert unfit(source, target, limits) == reason


def test_copies_are_kept_unless_asked() -> None:
    assert unfit("OK", "OK", PreparationSettings()) is None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("valid_size", -1),
        ("test_size", -1),
        ("seed", -1),
        ("min_words", 0),
        ("max_words", 0),
        ("max_characters", 0),
        ("max_ratio", 0.5),
        ("max_ratio", float("nan")),
        ("vocabulary_size", 0),
        ("vocabulary_sentences", 0),
        ("character_coverage", 0.0),
        ("character_coverage", 1.1),
        ("model_type", "word"),
        ("template", "no gap"),
    ],
)
def test_a_setting_out_of_range_is_named(key: str, value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        PreparationSettings(**{key: value})  # type: ignore[arg-type]
    assert caught.value.key == key


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc"))))
def test_exactly_the_first_of_equal_pairs_is_new(pairs: list[tuple[str, str]]) -> None:
    duplicates = Duplicates()
    new = [duplicates.is_new(*pair) for pair in pairs]
    assert new == [pair not in pairs[:index] for index, pair in enumerate(pairs)]


@given(
    st.lists(st.integers(0, 50), max_size=80),
    st.integers(0, 20),
    st.permutations(range(51)),
)
def test_the_sample_is_the_items_of_smallest_rank_in_any_order(
    items: list[int], size: int, ranks: list[int]
) -> None:
    sample = HoldoutSample(size)
    for item in items:
        sample.offer(item, ranks[item])
    assert sample.chosen() == sorted(set(items), key=lambda item: ranks[item])[:size]


@given(st.lists(st.integers(0, 40), min_size=1, max_size=200))
def test_length_statistics_follow_their_definitions(lengths: list[int]) -> None:
    summary = length_summary(Counter(lengths))
    covered = [
        n for n in sorted(lengths) if 100 * sum(m <= n for m in lengths) >= 95 * len(lengths)
    ]
    assert summary == {
        "mean": pytest.approx(statistics.fmean(lengths), abs=0.006),
        "median": statistics.median(lengths),
        "p95": covered[0],
        "max": max(lengths),
    }


def test_length_statistics_of_nothing_are_zero() -> None:
    assert set(length_summary(Counter()).values()) == {0.0}
