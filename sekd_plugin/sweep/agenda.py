"""What is to be done next for a row of a sweep."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sekd_plugin.sweep.expansion import Row
from sekd_plugin.sweep.halving import survivors
from sekd_plugin.sweep.layout import run_key
from sekd_plugin.sweep.record import Decision, RunRecord, State
from sekd_plugin.sweep.settings import HalvingSection

Score = Callable[[str], float]
"""Run → BLEU on the validation set."""


@dataclass(frozen=True)
class Training:
    """A run that is to be trained."""

    run: str
    """Its name."""

    stop_after: int | None
    """The step of the halving at which it pauses; None trains to the end."""


class RowAgenda:
    """Follows a row from its first training to the trial that is reported."""

    def __init__(
        self,
        row: Row,
        seeds: Sequence[int],
        halving: HalvingSection | None,
        records: Mapping[str, RunRecord],
        decisions: list[Decision],
    ) -> None:
        """What it is about.

        Args:
            row: the row.
            seeds: of every trial.
            halving: how trials are given up; it matters where there are several.
            records: run → its record; they change while the sweep works.
            decisions: what was decided so far; :meth:`decide` adds to it.
        """
        self.row = row
        self.decisions = decisions
        self._seeds = seeds
        self._keep = 1.0 if halving is None else halving.keep
        self._steps = [] if halving is None or not row.is_tuned else list(halving.steps)
        self._records = records

    @property
    def alive(self) -> Sequence[str]:
        """The trials that were not given up."""
        if self.decisions:
            return self.decisions[-1].kept
        return [trial.name for trial in self.row.trials]

    @property
    def target(self) -> int | None:
        """The next step of the halving; None where the end of training is next."""
        done = len(self.decisions)
        return self._steps[done] if done < len(self._steps) else None

    def runs(self, trial: str) -> list[str]:
        """The names of a trial's runs."""
        return [run_key(trial, seed) for seed in self._seeds]

    def trainings(self) -> list[Training]:
        """What can be trained now."""
        ready = (State.WAITING, State.PAUSED)
        return [
            Training(run, self.target)
            for trial in self.alive
            for run in self.runs(trial)
            if not self._has_arrived(run) and self._records[run].state in ready
        ]

    @property
    def is_complete(self) -> bool:
        """Whether every run has come to the target, or failed on the way."""
        return all(
            self._has_arrived(run) or self._records[run].state is State.FAILED
            for trial in self.alive
            for run in self.runs(trial)
        )

    def decide(self, score: Score) -> Decision | None:
        """Decide which trials go on, where a step of the halving is complete.

        Trials that failed with any seed are given up. Where all have failed nothing is decided.
        """
        step = self.target
        if step is None or not self.is_complete:
            return None
        scores = {
            trial: mean_score(self.runs(trial), score)
            for trial in self.alive
            if all(map(self._has_arrived, self.runs(trial)))
        }
        if not scores:
            return None
        decision = Decision(
            step=step, keep=self._keep, scores=scores, kept=survivors(scores, self._keep)
        )
        self.decisions.append(decision)
        return decision

    def chosen(self, score: Score) -> str | None:
        """The trial that is reported, once all are trained; None before, or where all failed.

        The best mean score wins, of the trials that were trained with the most seeds.
        """
        if self.target is not None or not self.is_complete:
            return None
        trained = {trial: self.trained_runs(trial) for trial in self.alive}
        most = max(map(len, trained.values()))
        if most == 0:
            return None
        complete = {trial: runs for trial, runs in trained.items() if len(runs) == most}
        return max(complete, key=lambda trial: mean_score(complete[trial], score))

    def trained_runs(self, trial: str) -> list[str]:
        """The runs of a trial that are trained to the end."""
        return [run for run in self.runs(trial) if self._records[run].is_trained]

    def has_failed(self, trial: str) -> bool:
        """Whether a run of a trial has failed."""
        return any(self._records[run].state is State.FAILED for run in self.runs(trial))

    def _has_arrived(self, run: str) -> bool:
        record = self._records[run]
        if record.is_trained:
            return True
        return self.target is not None and record.paused_at >= self.target


def mean_score(runs: Sequence[str], score: Score) -> float:
    """The mean over runs."""
    return math.fsum(map(score, runs)) / len(runs)
