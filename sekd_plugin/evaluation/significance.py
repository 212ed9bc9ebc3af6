"""Paired bootstrap resampling: would the difference survive another test set of this kind?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sacrebleu.metrics.base import Metric
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.metrics.ter import TER

from sekd_plugin.evaluation.scores import check_counts

METRICS: dict[str, Callable[..., Metric]] = {"BLEU": BLEU, "chrF2": CHRF, "TER": TER}


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


class SentenceCounts:
    """Counts what a corpus score is made of, sentence by sentence."""

    def __init__(self, references: Sequence[str], *, metric: str = "BLEU") -> None:
        """Against references, which are worked through once.

        Args:
            references: the references.
            metric: ``BLEU``, ``chrF2`` or ``TER``.
        """
        self._references = references
        self._scorer = METRICS[metric](references=[list(references)])

    def __call__(self, hypotheses: Sequence[str]) -> np.ndarray:
        """The counts of a system's translations, float64 ``[N, S]``; their sums make its score.

        Raises:
            SekdError: there is not one translation for each reference.
        """
        check_counts(hypotheses, self._references)
        rows = self._scorer._extract_corpus_statistics(list(hypotheses), None)
        return np.asarray(rows, dtype=np.float64)


def paired_bootstrap(
    pairs: Sequence[tuple[np.ndarray, np.ndarray]],
    *,
    metric: str = "BLEU",
    num_samples: int = 1000,
    seed: int = 12345,
) -> Comparison:
    """Compare two systems, or two settings trained with the same several seeds.

    A test set of the same size is drawn with replacement ``num_samples`` times; all systems are
    scored on each. The difference is the mean, over the pairs, of the differences of the two
    corpus scores, and its p-value two-sided, after the differences have been centred. So what is
    asked is whether the difference would survive another test set, with these trained models;
    what another seed would change is another question.

    Args:
        pairs: for each seed the :class:`SentenceCounts` of the system and of the baseline.
        metric: the metric that they are of.
        num_samples: how many test sets to draw.
        seed: of the draw.

    Source: Koehn, EMNLP 2004; Riezler & Maxwell, 2005, for the centring.
    """
    scorer = METRICS[metric]()
    sides = np.concatenate([side for pair in pairs for side in pair], axis=1)
    n = len(sides)

    def mean_difference(times_drawn: np.ndarray) -> float:
        sums = np.split(times_drawn @ sides, 2 * len(pairs))
        scores = [float(scorer._compute_score_from_stats(list(each)).score) for each in sums]
        return float(np.mean(np.subtract(scores[::2], scores[1::2])))

    difference = mean_difference(np.ones(n))
    draw = np.random.default_rng(seed)
    samples = np.array(
        [
            mean_difference(np.bincount(draw.integers(0, n, n), minlength=n).astype(np.float64))
            for _ in range(num_samples)
        ]
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


def compare_systems(
    outputs: Mapping[str, Sequence[str]],
    references: Sequence[str],
    *,
    baseline: str,
    num_samples: int = 1000,
    seed: int = 12345,
) -> dict[str, list[Comparison]]:
    """Every system but the baseline, by name, with its comparisons in all of :data:`METRICS`.

    Args:
        outputs: the translations by system.
        references: the references.
        baseline: the system that the others are compared with.
        num_samples: how many test sets to draw.
        seed: of the draw.
    """
    found: dict[str, list[Comparison]] = {name: [] for name in outputs if name != baseline}
    for metric in METRICS:
        count = SentenceCounts(references, metric=metric)
        theirs = count(outputs[baseline])
        for name, comparisons in found.items():
            pair = (count(outputs[name]), theirs)
            comparisons.append(
                paired_bootstrap([pair], metric=metric, num_samples=num_samples, seed=seed)
            )
    return found
