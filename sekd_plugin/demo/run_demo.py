"""Running the stages that are not finished, one after the other."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from typing import TextIO

from sekd_plugin.demo.display import StageDisplay
from sekd_plugin.demo.errors import StageFailedError
from sekd_plugin.demo.finished import finished_stages, needed, plain
from sekd_plugin.demo.plan import Plan
from sekd_plugin.demo.record import StageRecord, read_record, shown_commands, write_record
from sekd_plugin.demo.stage import Stage
from sekd_plugin.programs.folder_lock import alone
from sekd_plugin.programs.interruption import signals_as_exceptions
from sekd_plugin.programs.process import last_line, run_command
from sekd_plugin.programs.time_left import StageClock, pace
from sekd_plugin.progress import clock


def run_stages(plan: Plan, stream: TextIO | None = None) -> bool:
    """Run what is not finished; return whether there was anything to run.

    Args:
        plan: what the demo does.
        stream: where its progress is shown; standard error where none is named.

    Raises:
        SekdError: the folder is in use or holds another demo, or a stage failed.
        Interrupted: SIGINT or SIGTERM came; what was reached is kept.
    """
    layout = plan.layout
    with alone(layout.lock, layout.root, "demo") as lock:
        finished = finished_stages(plan.stages, layout)
        todo = [stage for stage in plan.stages if stage.name not in finished]
        if not todo:
            return False
        display = StageDisplay(stream or sys.stderr, max(len(stage.name) for stage in plan.stages))
        with signals_as_exceptions():
            for stage in plan.stages:
                if stage.name in finished:
                    display.finish(stage.name, "finished before")
                    continue
                finished[stage.name] = _Sitting(plan, stage, finished, display).run(lock)
        return True


class _Sitting:
    """One stage's run, from start or where an earlier sitting left it, to its end."""

    def __init__(
        self,
        plan: Plan,
        stage: Stage,
        finished: dict[str, StageRecord],
        display: StageDisplay,
    ) -> None:
        self._layout = plan.layout
        self._recipes = plan.settings.folder
        self._stage = stage
        self._finished = finished
        self._display = display
        expected = {each.name: each.expected_seconds for each in plan.stages}
        self._pace = pace(
            [expected[name] for name in finished], [each.seconds for each in finished.values()]
        )
        names = [each.name for each in plan.stages]
        self._later = sum(expected[name] for name in names[names.index(stage.name) + 1 :])
        earlier = read_record(plan.layout.record(stage.name))
        self._before = earlier.seconds if earlier and earlier.finished is None else 0.0
        self._started = time.monotonic()
        self._clock = StageClock(stage.expected_seconds * self._pace, self._started)

    def run(self, lock: int) -> StageRecord:
        stage = self._stage
        log = self._layout.log(stage.name)
        log.parent.mkdir(parents=True, exist_ok=True)
        self._display.begin(stage.name, (stage.expected_seconds + self._later) * self._pace)
        self._note(finished=False)
        try:
            if stage.action is not None:
                stage.action()
            for command in stage.commands:
                code = run_command(command, log, lock=lock, watch=self._watch)
                if code != 0:
                    raise StageFailedError(stage.name, log, last_line(log))
            for path in stage.results:
                if not path.exists():
                    raise StageFailedError(stage.name, log, f"(but {path} was not made)")
        except BaseException:
            self._display.leave()
            self._note(finished=False)
            raise
        record = self._note(finished=True)
        state = stage.state()
        loss = "" if state is None or state.loss is None else f", loss {state.loss:.2f}"
        self._display.finish(stage.name, f"done in {clock(record.seconds)}{loss}")
        return record

    def _watch(self) -> None:
        now = time.monotonic()
        state = self._stage.state()
        done, total = (0, 0) if state is None else (state.done, state.total)
        left = self._clock.left(now, done, total)
        self._display.show(self._stage.name, state, left, left + self._later * self._pace)

    def _note(self, *, finished: bool) -> StageRecord:
        folders = {"OUT": self._layout.root, "RECIPES": self._recipes}
        record = StageRecord(
            stage=self._stage.name,
            made_from=plain(self._stage.made_from),
            needs=needed(self._stage, self._finished),
            commands=shown_commands(self._stage.commands, folders),
            seconds=self._before + time.monotonic() - self._started,
            finished=datetime.now(UTC).isoformat(timespec="milliseconds") if finished else None,
        )
        write_record(self._layout.record(self._stage.name), record)
        return record
