"""What an analysis is made of: settings, checkpoints, sentences, and what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from sekd_plugin.analysis.difficulty.candidates import Candidate
from sekd_plugin.analysis.difficulty.columns import RATIOS, Column
from sekd_plugin.analysis.difficulty.token_table import TokenPlaces, TokenTable

Choice = str | Mapping[str, object]
"""A strategy as a recipe names it: a name, or ``{name, config}``."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A student as it stood once."""

    name: str
    """``RUN@step_N``."""

    run: str
    """The run's folder."""

    step: int
    """After which training step."""


@dataclass(frozen=True, kw_only=True)
class Sentence:
    """A sentence pair of the development set."""

    source: str
    """The text to translate."""

    target: str
    """Its translation."""

    file: str
    """The file it stands in."""

    line: int
    """The line, from 1."""


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """All that the figures are formed from."""

    teacher_weight: float
    """λ."""

    temperature: float
    """T."""

    measures: Mapping[str, Choice]
    """Name that is shown → the divergence as a recipe names it; the criterion's own comes first."""

    threshold: Choice
    """The criterion's threshold, as its recipe names it."""

    teacher: str
    """What the teacher was read from."""

    checkpoints: Sequence[Checkpoint]
    """The students, in the order of the command; Γ is given for the last."""

    earlier: Sequence[Tensor]
    """Difficulties by the criterion's own divergence, ``[n]``, at every checkpoint but the last."""

    table: TokenTable
    """What was measured at the last checkpoint."""

    places: TokenPlaces
    """Where the tokens stand."""

    sentences: Sequence[Sentence]
    """The sentences, in order."""

    dropped: Mapping[str, int]
    """Why pairs were left out → how many."""

    pieces: Mapping[int, str]
    """Id → the text of the piece, with the space before it; of every id in ``table``."""

    reference_ratio: float
    """The share of hard tokens that the sections about hard tokens are for."""

    shown: int
    """How many sentences the page shows at most, from the first on."""

    own_thresholds: Sequence[Candidate] = ()
    """Thresholds that the user asked for, beside those that there are."""

    @property
    def ratios(self) -> list[float]:
        """The shares of hard tokens that Γ is given for, by rising share."""
        return sorted({*RATIOS, self.reference_ratio})

    @property
    def main(self) -> str:
        """The name of the criterion's own difficulty."""
        return next(iter(self.measures))

    def columns(self) -> list[Column]:
        """Every measure at the last checkpoint, the criterion's own first; then the earlier."""
        last = len(self.checkpoints) - 1
        found = [Column(name, last, self.table.difficulty[name]) for name in self.measures]
        found += [Column(self.main, number, each) for number, each in enumerate(self.earlier)]
        return found
