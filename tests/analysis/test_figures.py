"""Γ, quantiles, histograms, parts, overlaps and lists, against counting by hand."""

import json
import math
import statistics
from collections import Counter

import numpy
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from made_up_analysis import END, PIECES, made_up_analysis

from sekd_plugin.analysis.difficulty.candidates import SENSIBLE, Candidate, candidates, decide
from sekd_plugin.analysis.difficulty.charts import gamma_number
from sekd_plugin.analysis.difficulty.columns import Column, histogram_counts, histogram_edges
from sekd_plugin.analysis.difficulty.figures import all_figures
from sekd_plugin.analysis.difficulty.hardest_tokens import often_hard
from sekd_plugin.analysis.difficulty.overlap import jaccard, movement
from sekd_plugin.analysis.difficulty.parts import equal_groups, ranges
from sekd_plugin.thresholds import Threshold, register_threshold, thresholds


@pytest.fixture(scope="module")
def analysis():
    return made_up_analysis()


@pytest.fixture(scope="module")
def figures(analysis):
    return all_figures(analysis)


def column(*values):
    return Column("d", 0, torch.tensor(values))


@given(st.lists(st.floats(0.001, 50.0), min_size=2, max_size=200, unique=True))
def test_gamma_makes_the_share_hard_that_it_was_asked_for(values):
    found = Column("d", 0, torch.tensor(values, dtype=torch.float64))
    for ratio in (0.05, 0.2, 0.5):
        wanted = math.floor(ratio * len(values) + 0.5)
        gamma = found.gamma(ratio)
        hard = sum(value > gamma for value in values)
        assert abs(hard - wanted) <= 0.02 * ratio * len(values)


def test_gamma_has_four_digits_unless_they_would_change_the_share():
    spread = torch.linspace(0.0, 5.0, 10_001, dtype=torch.float64)
    assert Column("d", 0, spread).gamma(0.3) == 3.5
    almost_one = Column("total_variation", 0, 1.0 - torch.linspace(1e-9, 4e-5, 1000).double())
    for ratio in (0.05, 0.2, 0.5):
        gamma = almost_one.gamma(ratio)
        assert almost_one.share_above(gamma) == pytest.approx(ratio, rel=0.021)
        assert gamma_number(gamma) == repr(gamma), "it is shown in all of its digits"


def test_equal_difficulties_are_hard_together_or_not_at_all():
    found = column(1.0, 2.0, 2.0, 2.0, 3.0)
    assert found.gamma(0.4) == 2.0 and found.share_above(2.0) == pytest.approx(0.2)
    assert found.hardest(0.4).tolist() == [False, True, False, False, True]


def test_an_infinite_difficulty_is_hard_and_moves_no_mean():
    found = column(0.5, 1.0, 1.5, math.inf)
    assert found.mean == pytest.approx(1.0) and found.gamma(0.25) == 1.5
    assert found.above(1.5).tolist() == [False, False, False, True]
    assert found.quantile(1.0) == math.inf and found.quantile(0.9) == math.inf
    assert sum(histogram_counts(found, histogram_edges([found]))) == 4


def test_quantiles_are_numpys(analysis, figures):
    own = figures["columns"][0]
    values = analysis.table.difficulty["forward_kl"].double().numpy()
    for share, value in own["quantiles"]:
        assert value == pytest.approx(float(numpy.quantile(values, share)), rel=1e-6)
    assert own["mean"] == pytest.approx(float(values.mean()))


def test_a_histogram_counts_every_token_once_in_its_bin(analysis, figures):
    for own in figures["columns"]:
        edges, counts = own["histogram"]["edges"], own["histogram"]["counts"]
        assert sum(counts) == figures["tokens"] and 20 <= len(edges) <= 42
        number = own["checkpoint"]
        values = (
            analysis.table.difficulty[own["divergence"]]
            if number == len(analysis.checkpoints) - 1
            else analysis.earlier[number]
        )
        expected, _ = numpy.histogram(values.double().numpy(), [*edges, math.inf])
        assert counts == expected.tolist()


def test_checkpoints_of_one_measure_share_their_bins(figures):
    same = [each for each in figures["columns"] if each["divergence"] == "forward_kl"]
    assert len(same) == 3 and len({tuple(each["histogram"]["edges"]) for each in same}) == 1


def test_what_hard_tokens_are_like_is_counted_over_them(analysis, figures):
    values = analysis.table.difficulty["forward_kl"].tolist()
    golds = analysis.table.student.log_gold.exp().tolist()
    first = analysis.table.teacher.words[:, 0].tolist()
    for each in figures["start"]:
        hard = [place for place, value in enumerate(values) if value > each["gamma"]]
        assert each["share"] == pytest.approx(len(hard) / len(values))
        below = sum(golds[place] < 0.01 for place in hard) / len(hard)
        assert each["unbelieved"] == pytest.approx(below)
        agrees = sum(first[place] == int(analysis.places.targets[place]) for place in hard)
        assert each["teacher_agrees"] == pytest.approx(agrees / len(hard))
        median = statistics.median(golds[place] for place in hard)
        assert each["student_gold"] == pytest.approx(median)
        assert each["config"]["threshold"] == {"name": "fixed", "config": {"gamma": each["gamma"]}}


def test_the_groups_of_every_part_hold_each_token_once(figures):
    assert len(figures["parts"]) == 7
    for part in figures["parts"]:
        tokens = [group["tokens"] for group in part["groups"]]
        assert sum(tokens) == figures["tokens"]
        hard = sum(group["share_hard"] * group["tokens"] for group in part["groups"])
        assert hard / figures["tokens"] == pytest.approx(figures["reference"]["share"])
    by_word = {part["name"]: part for part in figures["parts"]}["word_start"]
    ends = {group["label"]: group["tokens"] for group in by_word["groups"]}
    assert ends["end of the sentence"] == figures["sentences"]


def test_groups_of_equal_size_keep_equal_values_together():
    numbers, labels = equal_groups(torch.tensor([0.0] * 7 + [1.0, 2.0, 3.0]), "")
    assert numbers[:7].unique().tolist() == [0] and len(labels) == int(numbers.max()) + 1
    numbers, labels = equal_groups(torch.arange(50.0), " x")
    assert torch.bincount(numbers).tolist() == [10] * 5
    assert labels[0] == "below 10 x" and labels[-1] == "40 x and more"
    assert equal_groups(torch.ones(4), "")[1] == ["all"]


def test_ranges_begin_where_they_say():
    numbers, labels = ranges(torch.tensor([1, 2, 4, 5, 999, 5000]), (1, 2, 5, 1000))
    assert [labels[number] for number in numbers] == [
        *("1", "2–4", "2–4", "5–999", "5–999", "1,000 and more"),
    ]


def test_overlap_and_movement_are_counted():
    a, b = torch.tensor([1, 1, 0, 0, 1]).bool(), torch.tensor([1, 0, 0, 1, 1]).bool()
    assert jaccard(a, b) == 0.5 and jaccard(a, a) == 1.0
    assert jaccard(a & False, b & False) == 1.0
    moved = movement(a, b)
    assert (moved.stayed_hard, moved.became_easy, moved.became_hard, moved.stayed_easy) == (
        *(2, 1, 1, 1),
    )


def test_divergences_are_compared_at_equal_shares(analysis, figures):
    names, n = figures["divergences"]["names"], figures["tokens"]
    for each in figures["divergences"]["overlap"]:
        k = math.floor(each["ratio"] * n + 0.5)
        sets = [
            set(numpy.argsort(-analysis.table.difficulty[name].numpy(), kind="stable")[:k].tolist())
            for name in names
        ]
        for row, first in enumerate(sets):
            for place, second in enumerate(sets):
                expected = len(first & second) / len(first | second)
                assert each["jaccard"][row][place] == pytest.approx(expected)


def test_hard_tokens_over_training_are_those_above_the_first_gamma(analysis, figures):
    training = figures["training"]
    values = [*analysis.earlier, analysis.table.difficulty["forward_kl"]]
    shares = [float((each > training["gamma"]).float().mean()) for each in values]
    assert training["share_above"] == pytest.approx(shares)
    assert shares[0] == pytest.approx(0.2, abs=0.01) and shares[0] > shares[-1]
    assert [(move["from"], move["to"]) for move in training["moves"]] == [(0, 1), (1, 2), (0, 2)]
    for move in training["moves"]:
        before, after = (values[move[end]] > training["gamma"] for end in ("from", "to"))
        assert move["became_easy"] == int((before & ~after).sum())
    assert all_figures(made_up_analysis(checkpoints=1))["training"] is None


def test_tokens_most_often_hard_are_counted(analysis, figures):
    targets = analysis.places.targets.tolist()
    gamma = figures["reference"]["gamma"]
    hard = analysis.table.difficulty["forward_kl"] > gamma
    occurs = Counter(targets)
    hards = Counter(word for word, is_hard in zip(targets, hard.tolist(), strict=True) if is_hard)
    rows = {each["word"]: each for each in figures["often_hard"]}
    assert set(rows) == set(hards)
    for word, each in rows.items():
        assert (each["hard"], each["tokens"]) == (hards[word], occurs[word])
        assert each["text"] == PIECES[word]
    numbers = [each["hard"] for each in figures["often_hard"]]
    assert numbers == sorted(numbers, reverse=True)


def test_the_rare_and_always_hard_follow_the_frequent():
    targets = torch.tensor([5] * 10 + [7] * 5 + [8])
    hard = torch.tensor([True] * 6 + [False] * 4 + [True] * 5 + [True])
    found = often_hard(targets, torch.ones(16), hard)
    assert [(each.word, each.hard, each.tokens) for each in found] == [
        *((5, 6, 10), (7, 5, 5), (8, 1, 1)),
    ]


def test_every_registered_threshold_is_looked_at(figures):
    rows = figures["thresholds"]["rows"]
    built_in = {name for name in thresholds.names() if name in {*SENSIBLE, "fixed", "dynamic"}}
    assert {row["name"] for row in rows} >= built_in
    fixed = [row for row in rows if row["name"] == "fixed"]
    assert [row["share"] for row in fixed] == [each["share"] for each in figures["start"]]
    by_label = {row["label"]: row for row in rows}
    assert by_label["top_k, ratio 0.2"]["with_reference"] == pytest.approx(1.0)
    assert by_label["top_k, ratio 0.2, per sentence"]["gamma"] is None
    assert by_label["target_ratio, ratio 0.3"]["share"] == pytest.approx(0.3, abs=0.01)
    jaccards = torch.tensor(figures["thresholds"]["jaccard"])
    assert torch.equal(jaccards, jaccards.T) and bool((jaccards.diagonal() == 1.0).all())


def test_a_users_threshold_is_looked_at_unless_it_needs_settings():
    @register_threshold("every_second")
    class EverySecond(Threshold):
        """Half of the tokens."""

        observes = False

        def decide(self, difficulty):
            return torch.arange(difficulty.numel()) % 2 == 1

    @register_threshold("needs_settings")
    class NeedsSettings(EverySecond):
        """Half of the tokens."""

        def __init__(self, number: int) -> None:
            self.number = number

    try:
        names = {each.name for each in candidates([1.0], [])}
        assert "every_second" in names and "needs_settings" not in names
        own = Candidate(name="needs_settings", config={"number": 1})
        assert own in candidates([1.0], [own])
        found = decide(own, torch.tensor([3.0, 1.0, 2.0]), torch.zeros(3, dtype=torch.int64))
        assert found.hard.tolist() == [False, True, False] and found.gamma is None
    finally:
        for name in ("every_second", "needs_settings"):
            del thresholds._classes[name]


def test_a_gamma_that_no_number_can_be_is_left_out():
    analysis = made_up_analysis(checkpoints=1)
    analysis.table.difficulty["forward_kl"].fill_(math.inf)
    figures = all_figures(analysis)
    assert [each["config"] for each in figures["start"]] == [None] * 5
    assert [each["gamma"] for each in figures["start"]] == [None] * 5
    json.dumps(figures, allow_nan=False)


def test_a_share_of_ones_own_is_among_those_that_gamma_is_given_for():
    figures = all_figures(made_up_analysis(reference_ratio=0.33))
    assert figures["ratios"] == [0.05, 0.1, 0.2, 0.3, 0.33, 0.5]
    assert figures["reference"]["share"] == pytest.approx(0.33, abs=0.01)


def test_sentences_hold_what_was_measured_of_their_tokens(analysis, figures):
    items = figures["shown"]["items"]
    assert len(items) == figures["sentences"]
    words = [word for item in items for word in item["words"]]
    assert words == analysis.places.targets.tolist()
    assert all(item["words"][-1] == END for item in items)
    flat = [value for item in items for value in item["difficulty"][0]]
    assert flat == pytest.approx(analysis.table.difficulty["forward_kl"].tolist(), rel=1e-5)
    gammas = {each["ratio"]: each["gamma"] for each in figures["columns"][0]["hard"]}
    hard = sum(value > gammas[0.2] for value in flat)
    assert hard == round(figures["reference"]["share"] * figures["tokens"])
    assert len(all_figures(made_up_analysis(shown=3))["shown"]["items"]) == 3
