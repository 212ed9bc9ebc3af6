"""Stopping a training from outside: Ctrl-C, SIGTERM or SIGUSR1 end it after the step, saved."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self, cast

from fairseq2.gang import GangError, all_sum, raise_operational_gang_error
from fairseq2.trainer import Trainer, TrainUnit, _TrainerState
from fairseq2.validator import NOOP_VALIDATOR
from typing_extensions import override

_ANSWERED = (signal.SIGINT, signal.SIGTERM)


class StoppableTrainer(Trainer):  # type: ignore[misc]  # final, but made by fairseq2's factory
    """A trainer that stops when it is asked to, and resumes within an epoch where it left off.

    fairseq2's own does not stop where ``regime.num_steps`` is set, ends in a validation that may
    outlast the time it is given, and lets ranks stop at different steps. It also counts epochs
    wrongly when it resumes: a last epoch is taken for finished once it has begun, and one more is
    added after a checkpoint at an epoch's end. And it leaves a last checkpoint unfinished that was
    begun after the last step of the data.
    """

    _is_asked_to_stop = False

    stop_after: int | None = None
    """The step after which it stops by itself, when all is done that is due then."""

    @property
    def unit(self) -> TrainUnit[Any]:
        """What is trained."""
        return self._unit

    @override
    def request_stop(self) -> None:
        """Stop after the step that is being done, with a checkpoint; ranks agree on which."""
        self._is_asked_to_stop = True

    @override
    def _run_post_step(self) -> _TrainerState:
        is_over = self._max_num_steps is not None and self._step_nr >= self._max_num_steps
        # At an epoch's end the step has been saved already, and would be taken away to be saved
        # again.
        if self._state is _TrainerState.POST_STEP and not is_over and self._shall_stop():
            self._stop_requested = True
            self._validator = NOOP_VALIDATOR
            return _TrainerState.STOP_REQUESTED
        state = super()._run_post_step()
        if self._state is _TrainerState.POST_STEP and not is_over and self._is_far_enough():
            if not self._should_save_checkpoint():
                self._save_checkpoint(blocking=True)
            self._maybe_complete_checkpoint_save_operation()
            self._maybe_complete_hg_export_operation()
            self._stop_requested = True
            return _TrainerState.STOPPED
        return state

    def _is_far_enough(self) -> bool:
        return self.stop_after is not None and self._step_nr >= self.stop_after

    @override
    def _stop(self) -> _TrainerState:
        state = super()._stop()
        self._maybe_complete_checkpoint_save_operation()
        self._maybe_complete_hg_export_operation()
        return state

    def _shall_stop(self) -> bool:
        """Whether any rank was asked to; the same answer on all of them."""
        gang = self._gangs.root
        if gang.size == 1:
            return self._is_asked_to_stop
        try:
            return bool(all_sum(gang, int(self._is_asked_to_stop)) > 0)
        except GangError as error:
            raise_operational_gang_error(error)

    @override
    def _maybe_restore_state(self) -> _TrainerState:
        state = super()._maybe_restore_state()
        if self._step_nr == 0:
            return state
        finished_epochs = cast(int, self._data_reader.state_dict()["epoch"])
        most = self._max_num_data_epochs
        if most is not None and finished_epochs >= most:
            return _TrainerState.STOPPED
        self._data_epoch_nr = finished_epochs + 1
        if self._max_num_steps is not None and self._step_nr >= self._max_num_steps:
            return _TrainerState.STOPPED
        if self._is_far_enough():
            self._stop_requested = True
            return _TrainerState.STOPPED
        return _TrainerState.DATA_LOAD


def make_stoppable(trainer: Trainer) -> StoppableTrainer:
    """Turn a trainer that fairseq2 made into a :class:`StoppableTrainer`, in place."""
    trainer.__class__ = StoppableTrainer
    return cast(StoppableTrainer, trainer)


class StopSignals:
    """Answers SIGINT and SIGTERM while a command trains.

    Before the first step there is nothing to save, and the process ends at once. A second SIGINT
    ends it at once too, unless it is one of several processes: there one Ctrl-C arrives twice,
    from the terminal and from the launcher.
    """

    def __init__(self, stop_after: int | None = None) -> None:
        """Whether training also stops by itself.

        Args:
            stop_after: the step after which it does; None where it does not.
        """
        self._stop_after = stop_after

        self.number: int | None = None
        """The signal that asked for the stop; None where there was none."""

        self.stopped_after: int | None = None
        """The step after which training stopped; None where it did not stop early."""

        self._trainer: StoppableTrainer | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> Self:
        """Answer from now on; a thread that may not is left as it is."""
        if threading.current_thread() is threading.main_thread():
            self._before = {name: signal.signal(name, self._answer) for name in _ANSWERED}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for name, handler in self._before.items():
            signal.signal(name, cast("signal.Handlers", handler))

    def pass_to(self, trainer: StoppableTrainer) -> None:
        """From now on there is something to save."""
        self._trainer = trainer
        trainer.stop_after = self._stop_after

    @property
    def is_planned(self) -> bool:
        """Whether training stopped by itself where it was to."""
        planned, stopped = self._stop_after, self.stopped_after
        return self.number is None and planned is not None and (stopped or 0) >= planned

    def _answer(self, number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        if self._trainer is None:
            _say(f"sekd train: ended by {name} before the first step; nothing is lost")
            _end_by(number)
            return
        if self.number is not None:
            if number == signal.SIGINT and os.environ.get("WORLD_SIZE", "1") == "1":
                _say("sekd train: ended by a second SIGINT; the last checkpoint stands")
                _end_by(number)
            return
        self.number = number
        self._trainer.request_stop()
        _say(f"sekd train: {name} received; stopping after this step, with a checkpoint")


def _say(line: str) -> None:
    # Not print: the signal may have come in the middle of one.
    if os.environ.get("RANK", "0") == "0":
        os.write(2, f"{line}\n".encode())


def _end_by(number: int) -> None:
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
