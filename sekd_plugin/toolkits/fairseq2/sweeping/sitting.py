"""One sitting of a sweep: runs what is to do, several at once, until nothing is left."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ruamel.yaml import YAML

from sekd_plugin.new_file import replace_file
from sekd_plugin.programs import process
from sekd_plugin.programs.interruption import noted_signals
from sekd_plugin.programs.process import Command, Program, last_line, stop_programs
from sekd_plugin.programs.time_left import StageClock
from sekd_plugin.progress import clock
from sekd_plugin.sweep.display import RunView, SweepDisplay, Totals
from sekd_plugin.sweep.record import State
from sekd_plugin.sweep.resources import Slots
from sekd_plugin.toolkits.fairseq2.sweeping.board import Board
from sekd_plugin.toolkits.fairseq2.sweeping.run_folder import last_bleu, last_training_record
from sekd_plugin.toolkits.fairseq2.sweeping.scoring import TestSet, clear_scores

_POLL = 0.1
_UNFINISHED = "unfinished"
"""What stands in a record of scores while they are made."""

_GRACE = 60.0
"""Seconds that a training gets to finish its step, or its validation, and save itself."""


@dataclass(frozen=True, kw_only=True)
class _Job:
    run: str
    state: State
    command: Command
    then: Mapping[str, Any]
    """What its success changes in the run's record."""


@dataclass(kw_only=True)
class _Work:
    job: _Job
    program: Program
    slot: int
    started: float
    clock: StageClock


class Sitting:
    """Runs the trainings and the scoring of some rows."""

    def __init__(
        self,
        board: Board,
        rows: Sequence[str],
        test: TestSet,
        slots: Slots,
        lock: int,
        display: SweepDisplay,
    ) -> None:
        """What it works on.

        Args:
            board: how the sweep stands.
            rows: the rows to work on.
            test: the test set.
            slots: how much at once.
            lock: the folder's lock, which programs inherit.
            display: what is shown.
        """
        self._board = board
        self._rows = rows
        self._test = test
        self._slots = slots
        self._free = list(range(slots.count))
        self._lock = lock
        self._display = display
        self._at_work: list[_Work] = []
        self._clock = StageClock(expected=0.0, started=time.monotonic())

    def run(self) -> None:
        """Work until nothing is left that can be done.

        Raises:
            Interrupted: SIGINT or SIGTERM came; what was reached is kept.
        """
        with noted_signals() as check:
            try:
                while self._go_on():
                    check()
                    if self._display.is_due:
                        self._display.show(*self._views())
                    time.sleep(_POLL)
            except BaseException:
                self._stop()
                raise
            finally:
                self._display.close()

    def _go_on(self) -> bool:
        for work in [each for each in self._at_work if each.program.poll() is not None]:
            self._finish(work)
        for name in self._rows:
            agenda = self._board.agendas[name]
            while self._board.decide(agenda):
                last = agenda.decisions[-1]
                self._display.say(
                    f"{name}: after step {last.step} {len(last.kept)} trial(s) go on: "
                    f"{', '.join(last.kept)}"
                )
        while self._free and (job := self._next_job()) is not None:
            self._start(job)
        return bool(self._at_work)

    def _next_job(self) -> _Job | None:
        for name in self._rows:
            for training in self._board.agendas[name].trainings():
                return self._training(training.run, training.stop_after)
        for run, step in _unscored(self._board, self._rows, self._test):
            if self._board.records[run].state is State.FINISHED:
                return _Job(
                    run=run,
                    state=State.SCORING,
                    command=self._test.command(self._board.layout, run, step),
                    then={"state": State.FINISHED, "scored": self._test.origin(step)},
                )
        return None

    def _training(self, run: str, stop_after: int | None) -> _Job:
        layout = self._board.layout
        command = ("train", str(layout.run(run)), "--config-file", str(layout.recipe(run)))
        if stop_after is None:
            return _Job(
                run=run,
                state=State.TRAINING,
                command=command,
                then={"state": State.FINISHED, "is_trained": True},
            )
        return _Job(
            run=run,
            state=State.TRAINING,
            command=(*command, "--stop-after", str(stop_after)),
            then={"state": State.PAUSED, "paused_at": stop_after},
        )

    def _start(self, job: _Job) -> None:
        board, layout = self._board, self._board.layout
        if job.state is State.SCORING:
            origin = job.then["scored"]
            begun = board.records[job.run].scored or {}
            is_other = any(begun[key] != origin.get(key) for key in begun if key != _UNFINISHED)
            clear_scores(layout, job.run, translations=is_other)
            board.update(job.run, state=job.state, scored={**origin, _UNFINISHED: True})
        else:
            text = io.StringIO()
            yaml = YAML(typ="safe", pure=True)
            yaml.default_flow_style = False
            yaml.dump(board.runs[job.run].recipe, text)
            replace_file(layout.recipe(job.run), text.getvalue())
            board.update(job.run, state=job.state)
        slot = self._free.pop(0)
        now = time.monotonic()
        program = process.start_command(
            job.command,
            layout.log(job.run),
            lock=self._lock,
            environment=self._slots.environment(slot),
        )
        self._at_work.append(
            _Work(
                job=job,
                program=program,
                slot=slot,
                started=now,
                clock=StageClock(expected=0.0, started=now),
            )
        )
        self._display.say(f"{_words(job.run)}: {job.state}")

    def _finish(self, work: _Work) -> None:
        self._at_work.remove(work)
        self._free.append(work.slot)
        run, code = work.job.run, work.program.poll()
        spent = time.monotonic() - work.started
        seconds = self._board.records[run].seconds + spent
        if code != 0:
            log = self._board.layout.log(run)
            problem = f"exit code {code}: {last_line(log)}"
            self._board.update(run, state=State.FAILED, problem=problem, seconds=seconds)
            self._display.say(f"{_words(run)}: failed, see {log}: {problem}")
            return
        self._board.update(run, seconds=seconds, problem=None, **work.job.then)
        now = self._board.records[run]
        how = "scored" if work.job.state is State.SCORING else str(now.state)
        bleu = last_bleu(self._board.layout.run(run))
        shown = "" if bleu is None else f", BLEU {bleu:.2f} on valid"
        self._display.say(f"{_words(run)}: {how} in {clock(spent)}{shown}")

    def _stop(self) -> None:
        """Have every program save itself and end; what it was doing waits for the next sitting."""
        stop_programs([work.program for work in self._at_work], _GRACE)
        for work in self._at_work:
            run = work.job.run
            record = self._board.records[run]
            back = State.FINISHED if record.is_trained else State.WAITING
            seconds = record.seconds + time.monotonic() - work.started
            self._board.update(run, state=back, seconds=seconds)
        self._at_work = []

    def _views(self) -> tuple[list[RunView], Totals]:
        board, now = self._board, time.monotonic()
        views = [self._view(work, now) for work in self._at_work]
        runs = [run for run in board.runs_of(self._rows) if board.is_alive(run)]
        records = [board.records[run] for run in runs]
        steps = [(self._steps_done(run), board.runs[run].num_steps) for run in runs]
        left = None
        if all(total is not None for _, total in steps):
            done = sum(done for done, _ in steps)
            left = self._clock.left(now, done, sum(total or 0 for _, total in steps)) or None
        return views, Totals(
            finished=sum(record.is_trained for record in records),
            total=len(records),
            failed=sum(record.state is State.FAILED for record in records),
            seconds_left=left,
        )

    def _view(self, work: _Work, now: float) -> RunView:
        run = self._board.runs[work.job.run]
        folder = self._board.layout.run(run.key)
        last = last_training_record(folder)
        left = None
        if last is not None and run.num_steps is not None and work.job.state is State.TRAINING:
            left = work.clock.left(now, last[0], run.num_steps) or None
        return RunView(
            trial=run.trial,
            seed=run.seed,
            state=str(work.job.state),
            step=None if last is None else last[0],
            num_steps=run.num_steps,
            loss=None if last is None else last[1],
            bleu=last_bleu(folder),
            seconds_left=left,
        )

    def _steps_done(self, run: str) -> int:
        if self._board.records[run].is_trained:
            return self._board.runs[run].num_steps or 0
        last = last_training_record(self._board.layout.run(run))
        return 0 if last is None else last[0]


def num_programs(board: Board, rows: Sequence[str], test: TestSet) -> int:
    """How many trainings and scorings of some rows are left, as far as can be said now."""
    alive = [run for run in board.runs_of(rows) if board.is_alive(run)]
    untrained = sum(not board.records[run].is_trained for run in alive)
    return untrained + len({run for run, _ in _unscored(board, rows, test)})


def _unscored(board: Board, rows: Sequence[str], test: TestSet) -> Iterator[tuple[str, int]]:
    """The trained runs that are reported and have no scores yet, with the step to be scored."""
    for name in rows:
        agenda = board.agendas[name]
        trial = board.chosen(agenda)
        for run in agenda.trained_runs(trial) if trial is not None else []:
            step, _ = board.best(run)
            if not test.is_scored(board.layout, run, board.records[run].scored, step):
                yield run, step


def _words(run: str) -> str:
    """``ROW/TRIAL, seed N``."""
    trial, _, seed = run.rpartition("/")
    return f"{trial}, {seed.replace('_', ' ')}"
