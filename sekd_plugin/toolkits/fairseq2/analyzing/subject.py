"""What an analysis is of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sekd_plugin.analysis.difficulty.analysis import Choice
from sekd_plugin.analysis.difficulty.candidates import Candidate
from sekd_plugin.toolkits.fairseq2.sections import CorpusFileSection, TrainingConfig

COMPARED = ("forward_kl", "reverse_kl", "jensen_shannon", "skew_forward_kl", "total_variation")
"""The divergences that are compared where none is named."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is analysed, named but not loaded."""

    runs: Sequence[str]
    """``RUN``, ``RUN@step_N``, ``RUN@best``, ``RUN@all``; Γ is given for the last checkpoint."""

    config: TrainingConfig
    """The recipe: teacher, vocabulary, prompt, validation files, criterion."""

    files: Sequence[CorpusFileSection]
    """The development set."""

    teacher: str | None = None
    """A run, or a folder exported for Hugging Face; None is the recipe's."""

    divergences: Sequence[Choice] = ()
    """What to compare with the criterion's own; none is :data:`COMPARED`."""

    thresholds: Sequence[Candidate] = ()
    """Thresholds to look at beside those that there are."""

    sentences: int | None = None
    """Only the first so many sentences; None is all of them."""

    reference_ratio: float = 0.2
    """The share of hard tokens that the parts are shown for."""

    shown: int = 2000
    """How many sentences the page shows at most."""

    batch_tokens: int = 4096
    """The most tokens in a batch, padding included; it changes speed and memory only."""
