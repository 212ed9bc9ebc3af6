"""Scores are SacreBLEU's; significance is what a plain resampling loop gives."""

import numpy as np
import pytest
import sacrebleu
from noisy_translations import made_up_translations, noisy
from sacrebleu.metrics import BLEU
from sacrebleu.significance import PairedTest

from sekd_plugin.errors import SekdError
from sekd_plugin.evaluation.scores import Score, corpus_scores
from sekd_plugin.evaluation.significance import SentenceCounts, paired_bootstrap
from sekd_plugin.evaluation.table import SystemResult, score_table


@pytest.fixture(scope="module")
def references():
    return made_up_translations(80)


def test_scores_and_signatures_are_sacrebleus(references):
    hypotheses = noisy(references, 0.3, 1)
    bleu, chrf, ter = corpus_scores(hypotheses, references)
    assert bleu.value == sacrebleu.corpus_bleu(hypotheses, [references]).score
    assert chrf.value == sacrebleu.corpus_chrf(hypotheses, [references]).score
    assert ter.value == sacrebleu.corpus_ter(hypotheses, [references]).score
    assert [score.metric for score in (bleu, chrf, ter)] == ["BLEU", "chrF2", "TER"]
    assert "tok:13a" in bleu.signature and f"version:{sacrebleu.__version__}" in bleu.signature


def compared(ours, theirs, references, *, metric="BLEU", **settings):
    count = SentenceCounts(references, metric=metric)
    return paired_bootstrap([(count(ours), count(theirs))], metric=metric, **settings)


@pytest.mark.parametrize("metric", ["BLEU", "chrF2", "TER"])
def test_the_bootstrap_equals_a_loop_that_scores_whole_resampled_test_sets(references, metric):
    ours, theirs = noisy(references, 0.3, 1), noisy(references, 0.35, 2)
    score = {
        "BLEU": lambda h, r: sacrebleu.corpus_bleu(h, [r]).score,
        "chrF2": lambda h, r: sacrebleu.corpus_chrf(h, [r]).score,
        "TER": lambda h, r: sacrebleu.corpus_ter(h, [r]).score,
    }[metric]
    draw = np.random.default_rng(7)
    differences = []
    for _ in range(12):
        rows = draw.integers(0, len(references), len(references))
        pick = [references[row] for row in rows]
        differences.append(
            score([ours[row] for row in rows], pick) - score([theirs[row] for row in rows], pick)
        )
    whole = score(ours, references) - score(theirs, references)
    mean = np.mean(differences)

    found = compared(ours, theirs, references, metric=metric, num_samples=12, seed=7)

    assert found.difference == pytest.approx(whole)
    assert found.low == pytest.approx(np.quantile(differences, 0.025))
    assert found.high == pytest.approx(np.quantile(differences, 0.975))
    extreme = sum(abs(difference - mean) >= abs(whole) for difference in differences)
    assert found.p_value == pytest.approx((extreme + 1) / 13)


def test_the_p_value_agrees_with_sacrebleus_own_paired_bootstrap(references, monkeypatch):
    monkeypatch.setenv("SACREBLEU_SEED", "12345")
    ours, theirs = noisy(references, 0.30, 1), noisy(references, 0.33, 2)
    systems = [("theirs", theirs), ("ours", ours)]
    test = PairedTest(systems, {"BLEU": BLEU()}, [references], test_type="bs", n_samples=1000)
    _, results = test()
    expected = results["BLEU"][1].p_value

    found = compared(ours, theirs, references, num_samples=1000)

    assert 0.001 < expected < 0.9
    assert found.p_value == pytest.approx(expected, abs=0.05)


def test_a_large_difference_is_significant_and_none_is_not(references):
    good, bad = noisy(references, 0.1, 1), noisy(references, 0.6, 2)
    assert compared(good, bad, references, num_samples=200).p_value < 0.01
    same = compared(good, good, references, num_samples=200)
    assert same.p_value == 1.0 and same.difference == same.low == same.high == 0.0


def test_counts_that_differ_are_refused_with_both(references):
    with pytest.raises(SekdError, match="79 translations for 80 references"):
        corpus_scores(references[:-1], references)


def test_the_table_marks_significant_differences_from_the_baseline(references):
    good, bad = noisy(references, 0.1, 1), noisy(references, 0.6, 2)
    table = score_table(
        [
            SystemResult(name="bad", scores=corpus_scores(bad, references)),
            SystemResult(
                name="good",
                scores=corpus_scores(good, references),
                comparisons=[compared(good, bad, references, num_samples=100)],
            ),
        ],
        baseline="bad",
    )
    head, _, first, second = table.splitlines()
    assert head.split() == ["system", "BLEU", "chrF2", "TER"]
    assert first.startswith("bad (baseline)")
    assert "* p=0.0" in second


def test_a_score_knows_which_way_is_better(references):
    ways = {s.metric: s.higher_is_better for s in corpus_scores(references, references)}
    assert ways == {"BLEU": True, "chrF2": True, "TER": False}
    assert isinstance(corpus_scores(references, references)[0], Score)
