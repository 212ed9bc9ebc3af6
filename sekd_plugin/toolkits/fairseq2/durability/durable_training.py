"""The training recipe as ``sekd train`` runs it: it can be ended anywhere, and nothing is lost."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from typing import ClassVar

from fairseq2.checkpoint import CheckpointError, CheckpointManager, CheckpointNotFoundError
from fairseq2.error import OperationalError
from fairseq2.gang import GangError, Gangs
from fairseq2.io import TensorFileDumper, TensorFileLoader
from fairseq2.metrics.recorders import NOOP_METRIC_RECORDER, MetricRecorder
from fairseq2.recipe.base import RecipeContext
from fairseq2.recipe.error import MinimumLossScaleReachedError
from fairseq2.runtime.dependency import DependencyContainer, DependencyResolver
from fairseq2.task import Task, TaskStopException
from fairseq2.trainer import Trainer
from fairseq2.utils.yaml import YamlDumper
from typing_extensions import override

from sekd_plugin.errors import SekdError
from sekd_plugin.toolkits.fairseq2.durability.atomic_yaml import AtomicYamlDumper
from sekd_plugin.toolkits.fairseq2.durability.checkpoint_checksums import (
    CheckedTensorFileDumper,
    CheckedTensorFileLoader,
    DamagedCheckpointError,
    first_system_error,
    way_out_of,
)
from sekd_plugin.toolkits.fairseq2.durability.decoration import decorate
from sekd_plugin.toolkits.fairseq2.durability.finite_weights import FiniteWeightsDumper
from sekd_plugin.toolkits.fairseq2.durability.metrics_file import ResumedMetricRecorder
from sekd_plugin.toolkits.fairseq2.durability.stopping import (
    StoppableTrainer,
    StopSignals,
    make_stoppable,
)
from sekd_plugin.toolkits.fairseq2.faults.non_finite_step import NonFiniteStepError
from sekd_plugin.toolkits.fairseq2.recipe import TrainingRecipe
from sekd_plugin.toolkits.fairseq2.units import DistillationTrainUnit

_ERRORS_OF_A_DISK = {
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM,
}  # fmt: skip


class OutputError(SekdError):
    """What a run makes cannot be written."""

    exit_code: ClassVar[int] = 1


class LostProcessError(SekdError):
    """Another process of the run has ended or does not answer."""

    exit_code: ClassVar[int] = 1


class DurableTrainingRecipe(TrainingRecipe):
    """Training that may be killed, stopped, or run out of disk at any moment, and resumes."""

    def __init__(self, signals: StopSignals) -> None:
        """Whose wish to stop is heard."""
        self._signals = signals

    @override
    def register(self, container: DependencyContainer) -> None:
        super().register(container)
        decorate(container, YamlDumper, lambda _, dumper: AtomicYamlDumper(dumper))
        decorate(container, TensorFileDumper, _checked_dumper)
        decorate(container, TensorFileLoader, _checked_loader)
        decorate(container, MetricRecorder, _resumed_recorder)

    @override
    def create_task(self, context: RecipeContext) -> Task:
        trainer = super().create_task(context)
        if not isinstance(trainer, Trainer):
            raise TypeError(f"a Trainer was expected, not a {type(trainer).__name__}")
        if context.gangs.root.rank == 0:
            discard_unfinished_checkpoints(context.output_dir / "checkpoints")
        stoppable = make_stoppable(trainer)
        self._signals.pass_to(stoppable)
        return DurableTask(stoppable, context.output_dir, context.gangs, self._signals)


class DurableTask(Task):
    """Runs a trainer; what may happen to a run from outside is one line that says what to do."""

    def __init__(
        self, trainer: StoppableTrainer, folder: Path, gangs: Gangs, signals: StopSignals
    ) -> None:
        """Bring them together.

        Args:
            trainer: does the work.
            folder: the run's.
            gangs: the processes.
            signals: gets the step after which training stopped.
        """
        self._trainer = trainer
        self._folder = folder
        self._gangs = gangs
        self._signals = signals
        self._has_failed = False

    @override
    def run(self) -> None:
        """Train.

        Raises:
            OutputError: the disk is full, or something else cannot be written.
            DamagedCheckpointError: the checkpoint to resume from is not what was written.
            LostProcessError: another rank has ended.
            NonFiniteStepError: a number is not finite, or fp16 overflows at every scale.
        """
        try:
            self._trainer.run()
        except TaskStopException:
            self._signals.stopped_after = self._trainer.step_nr
            raise
        except MinimumLossScaleReachedError as error:
            self._has_failed = True
            raise NonFiniteStepError(self._overflowing(error.step_nr)) from None
        except (CheckpointError, CheckpointNotFoundError) as error:
            self._has_failed = True
            step = self._folder / "checkpoints" / f"step_{error.step_nr}"
            raise DamagedCheckpointError(
                f"{step} cannot be resumed from: {error}; {way_out_of(step)}"
            ) from None
        except (OSError, OperationalError, GangError, RuntimeError) as error:
            self._has_failed = True
            if self._gangs.root.size > 1 and _is_of_a_lost_process(error):
                raise LostProcessError(self._lost_process(error)) from None
            cause = first_system_error(error)
            if cause is None or cause.errno not in _ERRORS_OF_A_DISK:
                raise
            raise OutputError(self._not_written(cause)) from None
        except BaseException:
            self._has_failed = True
            raise

    def _overflowing(self, step_nr: int) -> str:
        unit = self._trainer.unit
        where = unit.sentences if isinstance(unit, DistillationTrainUnit) else "its batches"
        return (
            f"step {step_nr}: the gradients overflow in fp16 even at the least scale that "
            f"trainer.fp16_loss_scale allows, on {where}"
        )

    def _not_written(self, error: OSError) -> str:
        place = error.filename or self._folder
        last = last_checkpoint(self._folder)
        whence = "no checkpoint was made yet, so the same command starts anew"
        if last is not None:
            whence = f"{last} stands, and the same command goes on from there"
        return (
            f"step {self._trainer.step_nr}: {place} cannot be written: "
            f"{error.strerror or error}; {whence} when there is room"
        )

    def _lost_process(self, error: BaseException) -> str:
        gang = self._gangs.root
        last = last_checkpoint(self._folder)
        whence = "from the start" if last is None else f"from {last}"
        causes = _chain(error)
        return (
            f"step {self._trainer.step_nr}: rank {gang.rank} of {gang.size} lost another process "
            f"({_first_line(causes[-1])}); the launcher names the rank that failed first; the same "
            f"command resumes {whence}"
        )

    @override
    def request_stop(self) -> None:
        self._trainer.request_stop()

    @property
    @override
    def step_nr(self) -> int:
        return self._trainer.step_nr

    @override
    def close(self) -> None:
        try:
            self._trainer.close()
        except Exception:
            # On a full disk, closing a file fails as writing it did, and would hide that error.
            if not self._has_failed:
                raise


def last_checkpoint(folder: Path) -> Path | None:
    """The latest checkpoint of a run that it can resume from, or None."""
    found = [path.parent for path in (folder / "checkpoints").glob("step_*/trainer")]
    numbered = [path for path in found if path.name.removeprefix("step_").isdecimal()]
    return max(numbered, key=lambda path: int(path.name.removeprefix("step_")), default=None)


def discard_unfinished_checkpoints(checkpoints: Path) -> None:
    """Remove what a killed run left of the checkpoint that it was writing."""
    for partial in checkpoints.glob("step_*.tmp"):
        shutil.rmtree(partial, ignore_errors=True)


def _checked_dumper(_: DependencyResolver, dumper: TensorFileDumper) -> TensorFileDumper:
    return FiniteWeightsDumper(CheckedTensorFileDumper(dumper))


def _checked_loader(resolver: DependencyResolver, loader: TensorFileLoader) -> TensorFileLoader:
    return CheckedTensorFileLoader(loader, resolver.resolve(Path) / "checkpoints")


def _resumed_recorder(resolver: DependencyResolver, recorder: MetricRecorder) -> MetricRecorder:
    if recorder is NOOP_METRIC_RECORDER:
        return recorder
    manager = resolver.resolve(CheckpointManager)
    last_step = manager.maybe_get_last_step_number(exclude_model_only=True)
    return ResumedMetricRecorder(recorder, resolver.resolve(Path) / "metrics", last_step)


_SIGNS_OF_A_LOST_PROCESS = ("gloo", "nccl", "connection closed", "connection reset", "timed out")


def _is_of_a_lost_process(error: BaseException) -> bool:
    return any(
        isinstance(cause, GangError)
        or (
            isinstance(cause, RuntimeError)
            and any(sign in str(cause).lower() for sign in _SIGNS_OF_A_LOST_PROCESS)
        )
        for cause in _chain(error)
    )


def _chain(error: BaseException) -> list[BaseException]:
    causes = [error]
    while causes[-1].__cause__ is not None:
        causes.append(causes[-1].__cause__)
    return causes


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
