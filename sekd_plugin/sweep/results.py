"""What a sweep has found, as plain data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from sekd_plugin.evaluation.significance import Comparison
from sekd_plugin.sweep.statistics import Summary, summary


@dataclass(frozen=True, kw_only=True)
class SeedResult:
    """The reported run of a row with one seed."""

    seed: int
    """The seed."""

    step: int
    """The step of the checkpoint that is best on the validation set."""

    valid: float
    """Its BLEU there."""

    scores: Mapping[str, float]
    """Metric → its score on the test set."""

    seconds: float
    """Wall time of its training and scoring, on a machine that may have done other things too."""


@dataclass(frozen=True, kw_only=True)
class TriedTrial:
    """One of the trials that a row chose from."""

    name: str
    """Its name."""

    valid: float | None
    """Its BLEU on the validation set, in the mean over seeds; None where it has none."""

    num_seeds: int
    """How many seeds that is the mean of."""

    given_up_after: int | None = None
    """The step of the halving at which it was given up, if it was."""


@dataclass(frozen=True, kw_only=True)
class Against:
    """A row against the baseline, in one metric."""

    over_seeds: Summary
    """The differences, seed by seed, summed up."""

    over_sentences: Comparison
    """Their mean, under paired bootstrap resampling of the test sentences."""


@dataclass(frozen=True, kw_only=True)
class RowResult:
    """A line of the table."""

    name: str
    """Its name."""

    trial: str
    """The trial that is reported."""

    tried: Sequence[TriedTrial]
    """What it was chosen from; only itself where the row is not tuned."""

    seeds: Sequence[SeedResult]
    """The runs, by seed."""

    curve: Sequence[tuple[int, float]]
    """BLEU on the validation set over training, in the mean over the seeds: (step, BLEU)."""

    against: Mapping[str, Against] = field(default_factory=dict)
    """Metric → comparison with the baseline; none for the baseline itself."""

    @property
    def summaries(self) -> Mapping[str, Summary]:
        """Metric → its summary over the seeds."""
        metrics = self.seeds[0].scores if self.seeds else {}
        return {metric: summary([each.scores[metric] for each in self.seeds]) for metric in metrics}


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A run that failed."""

    run: str
    """Its name."""

    problem: str
    """What its log ends with."""

    log: str
    """The log."""


@dataclass(frozen=True, kw_only=True)
class SweepResults:
    """All that a sweep has found."""

    name: str
    """What stands above them: a table's title, or the sweep file's name."""

    baseline: str | None
    """The row that the others are compared with."""

    num_seeds: int
    """How many seeds each row is to have."""

    test: str
    """The test set."""

    num_sentences: int
    """How many sentences it has."""

    signatures: Mapping[str, str]
    """Metric → SacreBLEU's signature."""

    bootstrap_samples: int
    """How many test sets were drawn."""

    rows: Sequence[RowResult]
    """The rows that have a result, in the order of the file."""

    missing: Sequence[str]
    """The rows that have none yet."""

    failures: Sequence[Failure]
    """The runs that failed."""


def mean_curve(curves: Sequence[Mapping[int, float]]) -> list[tuple[int, float]]:
    """The mean over seeds at every step that all of them have."""
    if not curves:
        return []
    steps = sorted(set.intersection(*(set(curve) for curve in curves)))
    return [(step, math.fsum(curve[step] for curve in curves) / len(curves)) for step in steps]


def results_record(results: SweepResults) -> dict[str, Any]:
    """The results as JSON."""
    record = asdict(results)
    for entry, row in zip(record["rows"], results.rows, strict=True):
        entry["summaries"] = {metric: asdict(each) for metric, each in row.summaries.items()}
    return record
