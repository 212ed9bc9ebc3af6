"""What a report shows, as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A system against a baseline, in one metric."""

    difference: float
    """System minus baseline, in points."""

    low: float
    """Lower end of the 95 % interval of the difference."""

    high: float
    """Upper end."""

    p_value: float
    """Two-sided."""


@dataclass(frozen=True, kw_only=True)
class System:
    """One system and its scores."""

    name: str
    """Its name; also that of its run."""

    role: str
    """What it is, in a few words."""

    parameters: int
    """How many numbers it has."""

    scores: Mapping[str, float]
    """Metric → score, in the order of the table."""

    comparisons: Mapping[str, Mapping[str, Comparison]] = field(default_factory=dict)
    """Baseline → metric → comparison."""


@dataclass(frozen=True, kw_only=True)
class DifficultyHistogram:
    """How many target tokens of the validation set are how difficult."""

    step: int
    """After which training step."""

    edges: Sequence[float]
    """Lower edges of the bins, in nats; the last bin is open."""

    counts: Sequence[int]
    """Tokens in each bin."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training."""

    name: str
    """Its name."""

    criterion: str
    """Its loss."""

    num_steps: int
    """How long it trained."""

    started_from: str | None
    """The run from whose last checkpoint it continued, if any."""

    train: Sequence[Mapping[str, float]]
    """Metrics during training, one record a report, each with its ``Step``."""

    valid: Sequence[Mapping[str, float]]
    """Metrics on the validation set."""

    histograms: Sequence[DifficultyHistogram]
    """Difficulties on the validation set, by step."""

    settings: Mapping[str, object]
    """Its whole configuration, dotted key → value."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """One test sentence."""

    number: int
    """Its place in the test set, from 1."""

    source: str
    """The sentence."""

    reference: str
    """Its translation in the corpus."""

    outputs: Mapping[str, str]
    """System → its translation."""


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where the numbers come from."""

    date: str
    """When the report was written."""

    versions: Mapping[str, str]
    """Software → version."""

    machine: str
    """What it ran on."""

    seconds: Mapping[str, float]
    """Stage → wall time."""

    commands: Mapping[str, Sequence[Sequence[str]]]
    """Stage → the commands that were run, as words."""

    folders: Mapping[str, str]
    """What stands for a folder in the commands → what it is."""

    signatures: Mapping[str, str]
    """Metric → SacreBLEU's signature."""

    limits: Sequence[str] = ()
    """Why the numbers are less than a full run's, if they are."""


@dataclass(frozen=True, kw_only=True)
class ReportResults:
    """All that a report shows."""

    title: str
    """Its heading."""

    introduction: str
    """What was compared, in a sentence or two."""

    systems: Sequence[System]
    """In the order of the table."""

    baselines: Sequence[str]
    """Systems the others are compared with."""

    num_test_sentences: int
    """How many sentences the scores are from."""

    runs: Sequence[Run]
    """The trainings, in the order of ``systems``."""

    examples: Sequence[Example]
    """Test sentences to look at."""

    examples_seed: int
    """What drew them."""

    provenance: Provenance
    """Where all this comes from."""
