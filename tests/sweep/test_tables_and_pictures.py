"""The files that tell the results say what the numbers say, and stand alone."""

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import pytest

from sekd_plugin.evaluation.significance import Comparison
from sekd_plugin.sweep.display import RunView, SweepDisplay, Totals
from sekd_plugin.sweep.report import FILES
from sekd_plugin.sweep.results import (
    Against,
    Failure,
    RowResult,
    SeedResult,
    SweepResults,
    TriedTrial,
    mean_curve,
)
from sekd_plugin.sweep.statistics import summary
from sekd_plugin.sweep.tables import text_table


def row(name, scores, trial=None, against=None):
    seeds = [
        SeedResult(
            seed=seed,
            step=8,
            valid=value + 1,
            scores={"BLEU": value, "chrF2": 3 * value},
            seconds=60.0,
        )
        for seed, value in enumerate(scores, start=1)
    ]
    tried = [TriedTrial(name=trial or name, valid=13.25, num_seeds=2)]
    if trial:
        tried.append(TriedTrial(name=f"{name}/x=9", valid=12.5, num_seeds=2, given_up_after=4))
    return RowResult(
        name=name, trial=trial or name, tried=tried, seeds=seeds, curve=[(4, 10.0), (8, 12.0)],
        against=against or {},
    )  # fmt: skip


@pytest.fixture
def results():
    against = Against(
        over_seeds=summary([0.4, 0.6]),
        over_sentences=Comparison(metric="BLEU", difference=0.5, low=-0.1, high=1.1, p_value=0.04),
    )
    return SweepResults(
        name="study",
        baseline="word_kd",
        num_seeds=2,
        test="test.jsonl",
        num_sentences=1000,
        signatures={"BLEU": "nrefs:1|tok:13a"},
        bootstrap_samples=1000,
        rows=[
            row("word_kd", [12.0, 12.5]),
            row("ours,beta=0.5", [12.4, 13.1], "ours,beta=0.5/λ=0.7", {"BLEU": against}),
        ],
        missing=["never"],
        failures=[Failure(run="never/seed_1", problem="exit code 3", log="logs/never.log")],
    )


def test_a_line_has_mean_deviation_interval_and_difference(results):
    head, _, first, second = text_table(results).splitlines()
    assert re.split(r"  +", head) == [
        "row", "seeds", "BLEU", "95 % interval", "chrF2", "BLEU − word_kd", "over seeds",
        "over sentences", "p",
    ]  # fmt: skip
    # 12.25 ± 12.706 · 0.35355 / √2, and the difference's 0.5 ± 12.706 · 0.14142 / √2
    assert re.split(r"  +", first) == ["word_kd", "2", "12.25 ± 0.35", "9.07 to 15.43",
                                       "36.75 ± 1.06"]  # fmt: skip
    assert re.split(r"  +", second)[5:] == ["+0.50*", "−0.77 to +1.77", "−0.10 to +1.10", "0.040"]
    assert second.startswith("ours,beta=0.5 (λ=0.7)")


def test_the_latex_table_is_one_of_booktabs_and_escapes_what_latex_reads(results):
    text = FILES["results.tex"](results)
    assert text.count("\\toprule") == text.count("\\midrule") == text.count("\\bottomrule") == 1
    assert "word\\_kd & 2 & 12.25 $\\pm$ 0.35" in text
    assert "95 \\% interval" in text and "$-$0.77 to +1.77" in text
    lines = [line for line in text.splitlines() if line.endswith("\\\\")]
    assert len(lines) == 3 and {len(line.split(" & ")) for line in lines} == {9}
    assert "{lrrrrrrrr}" in text


def test_the_page_says_how_what_was_chosen_and_what_failed(results):
    page = FILES["results.md"](results)
    assert "**never/seed_1 failed**: exit code 3 (see `logs/never.log`)" in page
    assert "Rows without a result yet: never." in page
    assert "- `ours,beta=0.5/λ=0.7`: 13.25, **chosen**" in page
    assert "- `ours,beta=0.5/x=9`: 12.50, given up after step 4" in page
    assert "BLEU: `nrefs:1|tok:13a`" in page


def test_a_choice_names_the_trial_that_it_took_whatever_that_begins_with(results):
    def shown(name, trial):
        return text_table(replace(results, rows=[row(name, [1.0], trial)])).splitlines()[2]

    assert shown("ours", "ours_beta,beta=0.5").startswith("ours (ours_beta,beta=0.5) ")
    assert shown("w", "word_kd/x=1").startswith("w (word_kd/x=1) ")
    assert shown("ours", "ours/x=1").startswith("ours (x=1) ")
    assert shown("ours", "ours").startswith("ours  ")


def test_a_mean_over_fewer_seeds_is_told_from_the_chosen_one(results):
    tried = [
        TriedTrial(name="a/x=1", valid=22.0, num_seeds=3),
        TriedTrial(name="a/x=2", valid=30.0, num_seeds=1),
    ]
    some = replace(results, rows=[replace(row("a", [1.0], "a/x=1"), tried=tried)])
    page = FILES["results.md"](some)
    assert "- `a/x=1`: 22.00, **chosen**" in page
    assert "- `a/x=2`: 30.00 (1 of 3 seeds: the others have failed)" in page


def test_as_many_comparisons_are_told_as_there_are(results):
    assert "comparisons" not in FILES["results.md"](results), "one is no crowd"
    compared = results.rows[1]
    three = [results.rows[0], *(replace(compared, name=name) for name in "abc"), row("d", [1.0])]
    assert "With 3 comparisons one in twenty" in FILES["results.md"](replace(results, rows=three))


@pytest.mark.parametrize("file", ["scores.svg", "curves.svg"])
def test_a_picture_stands_alone_and_names_every_row(results, file):
    text = FILES[file](results)
    assert not re.search(r"var\(|@media|@import|url\(|href", text)
    picture = ElementTree.fromstring(text)
    words = "".join(picture.itertext())
    assert "word_kd" in words and "ours,beta=0.5" in words
    assert picture.attrib["role"] == "img" and "12." in picture.attrib["aria-label"]
    used = {name for each in picture.iter() for name in each.attrib.get("class", "").split()}
    (style,) = (each.text for each in picture if each.tag.endswith("style"))
    assert used - set(re.findall(r"\.(\w+)", style)) <= {"chart"}


def test_a_score_lies_where_its_number_is(results):
    picture = ElementTree.fromstring(FILES["scores.svg"](results))
    places = {}
    for each in picture.iter():
        titles = [child.text for child in each if child.tag.endswith("title")]
        if each.tag.endswith("circle") and titles and "seed" in titles[0]:
            places[float(titles[0].rsplit(" ", 1)[1])] = float(each.attrib["cx"])
    low, high = min(places), max(places)
    for value, place in places.items():
        share = (value - low) / (high - low)
        expected = places[low] + share * (places[high] - places[low])
        assert place == pytest.approx(expected, abs=0.02)


def test_results_of_nothing_are_files_all_the_same(results):
    nothing = SweepResults(**{**vars(results), "rows": [], "signatures": {}})
    for write in FILES.values():
        assert write(nothing)


def test_a_mean_curve_has_the_steps_that_all_seeds_have():
    assert mean_curve([{4: 1.0, 8: 3.0, 12: 9.0}, {4: 2.0, 8: 5.0}]) == [(4, 1.5), (8, 4.0)]
    assert mean_curve([]) == []


class Screen:
    """A stream that keeps what was written."""

    def __init__(self, terminal):
        self.text, self._terminal = "", terminal

    def isatty(self):
        return self._terminal

    def write(self, text):
        self.text += text

    def flush(self):
        pass


VIEW = RunView(
    trial="word_kd", seed=2, state="training", step=40, num_steps=200, loss=1.5, bleu=9.25,
    seconds_left=75.0,
)  # fmt: skip
TOTALS = Totals(finished=3, total=8, failed=1, seconds_left=600.0)


def test_a_log_gets_lines_and_a_terminal_a_table_that_is_drawn_over():
    log, screen = Screen(False), Screen(True)
    for stream in (log, screen):
        display = SweepDisplay(stream)
        display.show([VIEW], TOTALS)
        display.show([VIEW], TOTALS)
        display.say("word_kd, seed 1: finished")
    line = "3 of 8 runs done, 1 at work, 1 failed, at most 10:00 of training left\n"
    assert log.text == line + line + "word_kd, seed 1: finished\n"
    assert "\x1b" not in log.text
    assert screen.text.count("\x1b[3F\x1b[J") == 2
    last = screen.text.rsplit("\x1b[J", 2)[1].splitlines()
    assert re.split(r"  +", last[0]) == ["row", "seed", "step", "loss", "BLEU", "state", "left"]
    assert re.split(r"  +", last[1]) == ["word_kd", "2", "40/200", "1.500", "9.25", "training",
                                         "1:15"]  # fmt: skip
    assert screen.text.endswith("word_kd, seed 1: finished\n")
