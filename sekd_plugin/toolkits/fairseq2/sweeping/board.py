"""How a sweep stands: every run's record, every row's decisions, kept on the disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

from sekd_plugin.errors import SekdError
from sekd_plugin.programs.changed_setting import changed_setting
from sekd_plugin.sweep.agenda import RowAgenda
from sekd_plugin.sweep.layout import Layout
from sekd_plugin.sweep.record import (
    RunRecord,
    State,
    read_decisions,
    read_record,
    write_decisions,
    write_record,
)
from sekd_plugin.sweep.settings import HalvingSection
from sekd_plugin.toolkits.fairseq2.sweeping.plan import PlannedRun
from sekd_plugin.toolkits.fairseq2.sweeping.run_folder import best_checkpoint, bleu_at
from sekd_plugin.toolkits.fairseq2.sweeping.sweep_file import SweepFile


class Board:
    """The records of a sweep's runs, and what follows from them."""

    def __init__(
        self, layout: Layout, sweep: SweepFile, runs: Mapping[str, Sequence[PlannedRun]]
    ) -> None:
        """Read what there is.

        Raises:
            SekdError: a run, or a row's halving, was begun with other settings.
        """
        self.layout = layout
        self.runs = {run.key: run for group in runs.values() for run in group}
        self.records = {key: self._record(run) for key, run in self.runs.items()}
        halving = sweep.settings.halving
        self.agendas = {
            row.name: RowAgenda(
                row,
                sweep.settings.seeds,
                halving,
                self.records,
                read_decisions(layout.decisions(row.name)),
            )
            for row in sweep.rows
        }
        for agenda in self.agendas.values():
            self._check_decisions(agenda, halving)

    def update(self, run: str, **changes: object) -> None:
        """Change a run's record, on the disk too."""
        self.records[run] = self.records[run].but(**changes)
        write_record(self.layout.record(run), self.records[run])

    def take_up(self, rows: Sequence[str]) -> list[str]:
        """Have what failed, was interrupted or killed wait for its turn; return what had failed."""
        failed = []
        for name in rows:
            agenda = self.agendas[name]
            for run in (run for trial in agenda.alive for run in agenda.runs(trial)):
                record = self.records[run]
                if record.state is State.FAILED:
                    failed.append(run)
                if record.state in (State.FAILED, State.TRAINING, State.SCORING):
                    back = State.FINISHED if record.is_trained else State.WAITING
                    self.update(run, state=back, problem=None)
        return failed

    def decide(self, agenda: RowAgenda) -> bool:
        """Decide on a row's halving where that is due; return whether it was."""
        step = agenda.target
        if step is None:
            return False
        decision = agenda.decide(lambda run: bleu_at(self.layout.run(run), step))
        if decision is None:
            return False
        write_decisions(self.layout.decisions(agenda.row.name), agenda.decisions)
        return True

    def chosen(self, agenda: RowAgenda) -> str | None:
        """The trial of a row that is reported; None while that is open."""
        return agenda.chosen(lambda run: self.best(run)[1])

    @cache  # noqa: B019  # a board lives as long as its command
    def best(self, run: str) -> tuple[int, float]:
        """Step and BLEU of a trained run's best checkpoint on the validation set."""
        found = best_checkpoint(self.layout.run(run))
        return found.step, found.bleu

    def runs_of(self, rows: Sequence[str]) -> list[str]:
        """The runs of some rows, given up or not, each once."""
        agendas = [self.agendas[name] for name in rows]
        every = (
            run for each in agendas for trial in each.row.trials for run in each.runs(trial.name)
        )
        return list(dict.fromkeys(every))

    def is_alive(self, run: str) -> bool:
        """Whether a run's trial was not given up."""
        planned = self.runs[run]
        return planned.trial in self.agendas[planned.row].alive

    def strangers(self) -> list[str]:
        """Runs that lie here and that the sweep file does not have, or has no more."""
        found = (
            str(file.relative_to(self.layout.records).with_suffix(""))
            for file in self.layout.records.rglob("seed_*.json")
        )
        return sorted(set(found) - set(self.runs))

    def _record(self, run: PlannedRun) -> RunRecord:
        record = read_record(self.layout.record(run.key))
        if record is None:
            return RunRecord(recipe=run.recipe)
        changed = changed_setting(record.recipe, run.recipe)
        if changed is not None:
            raise SekdError(
                f"row {run.trial}, seed {run.seed}: {self.layout.run(run.key)} was begun with "
                f"other settings: {changed}; name the row "
                "otherwise, or another folder for the sweep"
            )
        return record

    def _check_decisions(self, agenda: RowAgenda, halving: HalvingSection | None) -> None:
        for number, decision in enumerate(agenda.decisions):
            now = None
            if halving is not None and number < len(halving.steps):
                now = (halving.steps[number], halving.keep)
            if now != (decision.step, decision.keep) or not agenda.row.is_tuned:
                raise SekdError(
                    f"halving: row {agenda.row.name} was halved after step {decision.step}, "
                    f"keeping {decision.keep:g}, and the sweep file says something else now; "
                    "name another folder for the sweep"
                )
            trials = {trial.name for trial in agenda.row.trials}
            then = {*decision.scores, *filter(agenda.has_failed, trials)}
            if number == 0 and then != trials:
                raise SekdError(
                    f"halving: row {agenda.row.name} was halved with other trials than the sweep "
                    "file has now; name the row otherwise, or another folder for the sweep"
                )
