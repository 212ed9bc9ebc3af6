"""From the folders of a sweep to its results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from sekd_plugin.evaluation.significance import SentenceCounts, paired_bootstrap
from sekd_plugin.progress import Progress
from sekd_plugin.sweep.agenda import RowAgenda, mean_score
from sekd_plugin.sweep.layout import Layout, run_key
from sekd_plugin.sweep.record import State
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
from sekd_plugin.sweep.table import Table
from sekd_plugin.toolkits.fairseq2.sweeping.board import Board
from sekd_plugin.toolkits.fairseq2.sweeping.run_folder import bleu_by_step
from sekd_plugin.toolkits.fairseq2.sweeping.scoring import TestSet, read_scores
from sekd_plugin.toolkits.fairseq2.sweeping.sweep_file import SweepFile

COMPARED = ("BLEU", "chrF2")
"""The metrics in which rows are compared with the baseline."""


class Comparisons:
    """Comparisons of rows with baselines; those that several tables show are made once."""

    def __init__(self, layout: Layout, test: TestSet) -> None:
        """Of translations of a test set."""
        self._layout = layout
        self._test = test
        self._made: dict[tuple[str, str, tuple[int, ...]], Mapping[str, Against]] = {}
        self._count = {
            metric: SentenceCounts(test.references, metric=metric) for metric in COMPARED
        }
        self._counted: dict[tuple[str, str], np.ndarray] = {}

    def of(self, row: RowResult, baseline: RowResult) -> Mapping[str, Against]:
        """Metric → comparison over the seeds that both have; none of a row with itself."""
        theirs = {each.seed: each for each in baseline.seeds}
        both = tuple(each.seed for each in row.seeds if each.seed in theirs)
        if row.name == baseline.name or not both:
            return {}
        key = (row.trial, baseline.trial, both)
        if key not in self._made:
            self._made[key] = self._compare(row, baseline, both)
        return self._made[key]

    def _compare(
        self, row: RowResult, baseline: RowResult, both: Sequence[int]
    ) -> Mapping[str, Against]:
        ours, theirs = ({each.seed: each for each in side.seeds} for side in (row, baseline))
        return {
            metric: Against(
                over_seeds=summary(
                    [ours[seed].scores[metric] - theirs[seed].scores[metric] for seed in both]
                ),
                over_sentences=paired_bootstrap(
                    [
                        (
                            self._counts(row.trial, seed, metric),
                            self._counts(baseline.trial, seed, metric),
                        )
                        for seed in both
                    ],
                    metric=metric,
                    num_samples=self._test.section.bootstrap_samples,
                ),
            )
            for metric in COMPARED
        }

    def _counts(self, trial: str, seed: int, metric: str) -> np.ndarray:
        key = (run_key(trial, seed), metric)
        if key not in self._counted:
            text = self._layout.translations(key[0]).read_text(encoding="utf-8")
            lines = text.removesuffix("\n").split("\n")
            self._counted[key] = self._count[metric](lines)
        return self._counted[key]


def gather(
    board: Board,
    sweep: SweepFile,
    table: Table,
    test: TestSet,
    comparisons: Comparisons,
    progress: Progress,
) -> SweepResults:
    """All that has been found so far of a table; rows that are not finished are left out."""
    found: dict[str, RowResult] = {}
    signatures: dict[str, str] = {}
    for name in table.rows:
        result = _row(board, board.agendas[name], test, signatures)
        if result is not None:
            found[name] = result
    baseline = found.get(table.baseline or "")
    rows = list(found.values())
    if baseline is not None:
        rows = [
            replace(row, against=comparisons.of(row, baseline))
            for row in progress.track(rows, "comparing", len(rows))
        ]
    runs = set(board.runs_of(table.rows))
    failed = {
        key: each
        for key, each in board.records.items()
        if each.state is State.FAILED and key in runs
    }
    return SweepResults(
        name=table.title,
        baseline=table.baseline,
        num_seeds=len(sweep.settings.seeds),
        test=str(test.section.path),
        num_sentences=len(test.pairs),
        signatures=signatures,
        bootstrap_samples=test.section.bootstrap_samples,
        rows=rows,
        missing=[name for name in table.rows if name not in found],
        failures=[
            Failure(run=key, problem=each.problem or "", log=str(board.layout.log(key)))
            for key, each in failed.items()
        ],
    )


def _row(
    board: Board, agenda: RowAgenda, test: TestSet, signatures: dict[str, str]
) -> RowResult | None:
    trial = board.chosen(agenda)
    if trial is None:
        return None
    seeds = []
    runs = []
    for run in agenda.trained_runs(trial):
        step, bleu = board.best(run)
        record = board.records[run]
        if not test.is_scored(board.layout, run, record.scored, step):
            continue
        scores, theirs = read_scores(board.layout.scores(run))
        signatures.update(theirs)
        runs.append(run)
        seeds.append(
            SeedResult(
                seed=board.runs[run].seed,
                step=step,
                valid=bleu,
                scores=scores,
                seconds=record.seconds,
            )
        )
    if not seeds:
        return None
    return RowResult(
        name=agenda.row.name,
        trial=trial,
        tried=_tried(board, agenda),
        seeds=seeds,
        curve=mean_curve([bleu_by_step(board.layout.run(run)) for run in runs]),
    )


def _tried(board: Board, agenda: RowAgenda) -> list[TriedTrial]:
    """Every trial with its mean BLEU on the validation set, at its end or where it was given up."""
    given_up: dict[str, tuple[int, float | None]] = {}
    for decision in agenda.decisions:
        for trial in agenda.row.trials:
            if trial.name not in decision.kept and trial.name not in given_up:
                given_up[trial.name] = (decision.step, decision.scores.get(trial.name))
    tried = []
    for trial in agenda.row.trials:
        step, valid = given_up.get(trial.name, (None, None))
        runs = agenda.runs(trial.name)
        if step is None:
            runs = agenda.trained_runs(trial.name)
            valid = mean_score(runs, lambda run: board.best(run)[1]) if runs else None
        count = 0 if valid is None else len(runs)
        tried.append(TriedTrial(name=trial.name, valid=valid, num_seeds=count, given_up_after=step))
    return tried
