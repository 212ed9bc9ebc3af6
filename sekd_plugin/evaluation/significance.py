"""Paired bootstrap resampling: would the difference survive another test set of this kind?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sacrebleu.metrics.base import Metric
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.metrics.ter import TER

from sekd_plugin.evaluation.scores import check_counts

METRICS: dict[str, type[Metric]] = {"BLEU": BLEU, "chrF2": CHRF, "TER": TER}


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A system against the baseline, in one metric."""

    metric: str
    """The metric."""

    difference: float
    """System minus baseline, on the whole test set."""

    low: float
    """The lower end of the 95 % interval of the difference."""

    high: float
    """Its upper end."""

    p_value: float
    """The share of resamples whose difference strays from its mean by as much as was observed,
    (c + 1) / (B + 1): small when chance alone would hardly make such a difference."""


def paired_bootstrap(
    hypotheses: Sequence[str],
    baseline: Sequence[str],
    references: Sequence[str],
    *,
    metric: str = "BLEU",
    num_samples: int = 1000,
    seed: int = 12345,
) -> Comparison:
    """Compare two systems on resampled test sets.

    A test set of the same size is drawn with replacement ``num_samples`` times; both systems
    are scored on each. The p-value is two-sided, after the differences have been centred.

    Args:
        hypotheses: the system's translations.
        baseline: the baseline's translations of the same sentences.
        references: the references.
        metric: ``BLEU``, ``chrF2`` or ``TER``.
        num_samples: how many test sets to draw.
        seed: of the draw.

    Source: Koehn, EMNLP 2004; Riezler & Maxwell, 2005, for the centring.
    """
    check_counts(hypotheses, references)
    check_counts(baseline, references)
    scorer = METRICS[metric]()
    ours = sentence_statistics(scorer, hypotheses, references)
    theirs = sentence_statistics(scorer, baseline, references)
    difference = _score(scorer, ours.sum(0)) - _score(scorer, theirs.sum(0))
    draw = np.random.default_rng(seed)
    n = len(references)
    samples = np.empty(num_samples)
    for number in range(num_samples):
        chosen = draw.integers(0, n, n)
        samples[number] = _score(scorer, ours[chosen].sum(0)) - _score(
            scorer, theirs[chosen].sum(0)
        )
    low, high = np.quantile(samples, [0.025, 0.975])
    extreme = int(np.sum(np.abs(samples - samples.mean()) >= abs(difference)))
    return Comparison(
        metric=metric,
        difference=difference,
        low=float(low),
        high=float(high),
        p_value=(extreme + 1) / (num_samples + 1),
    )


def sentence_statistics(
    scorer: Metric, hypotheses: Sequence[str], references: Sequence[str]
) -> np.ndarray:
    """The sums that a corpus score is made of, for each sentence: ``[N, S]``."""
    rows = scorer._extract_corpus_statistics(list(hypotheses), [list(references)])
    return np.asarray(rows, dtype=np.float64)


def _score(scorer: Metric, statistics: np.ndarray) -> float:
    return float(scorer._compute_score_from_stats(list(statistics)).score)
