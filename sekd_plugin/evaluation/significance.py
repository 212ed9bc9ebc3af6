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
    return pooled_paired_bootstrap(
        [(hypotheses, baseline)], references, metric=metric, num_samples=num_samples, seed=seed
    )


def pooled_paired_bootstrap(
    pairs: Sequence[tuple[Sequence[str], Sequence[str]]],
    references: Sequence[str],
    *,
    metric: str = "BLEU",
    num_samples: int = 1000,
    seed: int = 12345,
) -> Comparison:
    """Compare one setting with another, each trained with the same several seeds.

    The difference is the mean, over the seeds, of the differences of the two corpus scores. On a
    resampled test set all systems are scored on the same sentences. So what is asked is whether
    the difference would survive another test set, with these trained models; what another seed
    would change is another question.

    Args:
        pairs: for each seed the system's and the baseline's translations.
        references: the references.
        metric: ``BLEU``, ``chrF2`` or ``TER``.
        num_samples: how many test sets to draw.
        seed: of the draw.
    """
    for lines in (side for pair in pairs for side in pair):
        check_counts(lines, references)
    scorer = METRICS[metric]()
    statistics = [
        [sentence_statistics(scorer, lines, references) for lines in pair] for pair in pairs
    ]

    def mean_difference(chosen: np.ndarray | slice) -> float:
        differences = [
            _score(scorer, ours[chosen].sum(0)) - _score(scorer, theirs[chosen].sum(0))
            for ours, theirs in statistics
        ]
        return sum(differences) / len(differences)

    difference = mean_difference(slice(None))
    draw = np.random.default_rng(seed)
    n = len(references)
    samples = np.array([mean_difference(draw.integers(0, n, n)) for _ in range(num_samples)])
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
