"""The report: one file, safe, readable, with the numbers it was given."""

import itertools
import math
import re

import pytest
from html_reader import Reader

from sekd_plugin.analysis.report import (
    Comparison,
    DifficultyHistogram,
    Example,
    Provenance,
    ReportResults,
    Run,
    System,
    render_page,
)
from sekd_plugin.analysis.report.histogram_chart import histogram_chart
from sekd_plugin.analysis.report.scale import Scale, ticks


def comparison(difference, p_value):
    return Comparison(
        difference=difference, low=difference - 0.4, high=difference + 0.4, p_value=p_value
    )


def run(name, start=None, gamma=False):
    train = [{"Step": step, "Loss": 4.0 - step / 100, "Hard Ratio": 0.3} for step in (20, 40, 60)]
    if gamma:
        train = [{**each, "Gamma": 3.0, "Difficulty p50": 2.0} for each in train]
    return Run(
        name=name,
        criterion=name,
        num_steps=60,
        started_from=start,
        train=train,
        valid=[
            {"Step": 30, "Cross-Entropy": 3.5, "Gamma": 2.5},
            {"Step": 60, "Cross-Entropy": 3.0},
        ],
        histograms=[
            DifficultyHistogram(step=step, edges=[0, 1, 2], counts=[70, 20, 10])
            for step in (30, 60)
        ],
        settings={"optimizer.config.lr": 0.001},
    )


@pytest.fixture
def results():
    scores = {"BLEU": 12.34, "chrF2": 40.5, "TER": 80.25}
    names = ["teacher", "word_kd", "self_evolution_kd"]
    return ReportResults(
        title="A <demo>",
        introduction="What was compared & how.",
        systems=[
            System(
                name=name,
                role="role",
                parameters=5_240_000,
                scores=scores,
                comparisons={}
                if name == "word_kd"
                else {"word_kd": {"BLEU": comparison(0.75 if name == "teacher" else -0.1, p)}},
            )
            for name, p in zip(names, (0.01, 1.0, 0.6), strict=True)
        ],
        baselines=["word_kd"],
        num_test_sentences=1000,
        runs=[run("teacher"), run("word_kd", "student"), run("self_evolution_kd", "student", True)],
        examples=[
            Example(
                number=7,
                source="Click <b>OK</b> & <script>alert(1)</script>",
                reference='"Ja"',
                outputs={"word_kd": "Klick < auf", "self_evolution_kd": "OK"},
            )
        ],
        examples_seed=1,
        provenance=Provenance(
            date="2026-01-01",
            versions={"torch": "2.9.1"},
            machine="x86_64",
            seconds={"teacher": 60.0, "student": 30.0},
            commands={"teacher": [["sekd", "train", "$OUT/a b"]]},
            folders={"OUT": "the folder"},
            signatures={"BLEU": "nrefs:1|tok:13a"},
        ),
    )


@pytest.fixture
def page(results):
    reader = Reader(render_page(results))
    assert reader.open == []
    return reader


def test_the_page_needs_nothing_from_outside(results, page):
    text = render_page(results)
    assert not re.search(r"https?:|//[a-z]|@import|url\(", text)
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"script", "link", "img", "iframe", "object"}
    for _, attributes in page.tags:
        assert not {"src", "href", "srcset"} & set(attributes)


def test_text_of_the_corpus_is_shown_and_never_becomes_markup(page):
    shown = "".join(page.text)
    assert "Click <b>OK</b> & <script>alert(1)</script>" in shown
    assert "Klick < auf" in shown
    assert "A <demo>" in shown


def test_the_table_and_the_sentences_under_it_say_what_the_numbers_say(page):
    shown = " ".join("".join(page.text).split())
    assert "12.34" in shown and "80.25" in shown and "5.24 M" in shown
    assert "+0.75" in shown and "−0.10" in shown
    assert (
        "self_evolution_kd and word_kd cannot be told apart on this test set: they differ by "
        "0.10 BLEU" in shown
    )
    assert "1.5 minutes in all" in shown
    assert "sekd train '$OUT/a b'" in shown


def test_a_significant_difference_is_said_with_its_direction(results):
    systems = list(results.systems)
    for difference, word in ((0.75, "better"), (-0.75, "worse")):
        changed = System(
            name="self_evolution_kd",
            role="role",
            parameters=1,
            scores=systems[2].scores,
            comparisons={"word_kd": {"BLEU": comparison(difference, 0.01)}},
        )
        text = render_page(ReportResults(**{**vars(results), "systems": [*systems[:2], changed]}))
        assert f"self_evolution_kd is {word} than word_kd by 0.75 BLEU" in text


def test_charts_have_labels_units_and_a_description_in_words(page):
    charts = [attributes for tag, attributes in page.tags if tag == "svg" and "role" in attributes]
    assert len(charts) == 6
    assert all(chart["role"] == "img" and len(chart["aria-label"]) > 30 for chart in charts)
    shown = "".join(page.text)
    for label in ("training step", "nats a target token", "difficulty of a target word / nats"):
        assert label in shown
    assert "self_evolution_kd, training step 60" in shown  # a hover title


def shown_shares(early, late):
    """Share by span of both outlines, as the hover titles give them."""
    edges = [0.25 * place for place in range(len(early))]
    histograms = [
        DifficultyHistogram(step=step, edges=edges, counts=counts)
        for step, counts in ((1, early), (2, late))
    ]
    chart = str(histogram_chart("difficulty", histograms, [None, 1.0], [0, 1]))
    found = re.findall(r"step (\d), ([\d.]+)[^:]*: ([\d.]+) % of the words", chart)
    return [
        {float(low): float(share) for step, low, share in found if step == number}
        for number in ("1", "2")
    ]


@pytest.mark.parametrize(
    ("early", "late"),
    [
        ([0] * 30 + [5] * 35, [100, 50, 10] + [0] * 62),  # a long tail only before training
        ([100, 50, 10] + [0] * 62, [0] * 30 + [5] * 35),
        ([0] * 64 + [9], [0] * 64 + [9]),
        ([9] + [0] * 64, [9] + [0] * 64),
        ([0] * 65, [0] * 65),
    ],
)
def test_two_histograms_share_their_bins_however_different_they_are(early, late):
    first, second = shown_shares(early, late)
    assert list(first) == list(second) and 2 <= len(first) <= 23
    for shares, counts in ((first, early), (second, late)):
        assert sum(shares.values()) == pytest.approx(100.0 if any(counts) else 0.0, abs=1.0)
        lows = [*shares, math.inf]
        for low, high in itertools.pairwise(lows):
            inside = sum(c for place, c in enumerate(counts) if low <= 0.25 * place < high)
            assert shares[low] == pytest.approx(100.0 * inside / (sum(counts) or 1), abs=0.051)


def test_a_curve_runs_where_its_numbers_are():
    scale = Scale(0.0, 10.0, 100.0, 0.0)
    assert scale(0.0) == 100.0 and scale(10.0) == 0.0 and scale(2.5) == 75.0


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3, 7), (0.001, 0.0034), (120, 98000)])
def test_ticks_are_round_numbers_inside_the_range(low, high):
    found = ticks(low, high)
    assert 3 <= len(found) <= 11
    assert all(low <= value <= high for value in found)
    step = found[1] - found[0]
    assert float(f"{step:.0e}") == pytest.approx(step)
