"""The notes that make a sweep resumable: one on each run, one on each row that is halved."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from sekd_plugin.errors import DataError
from sekd_plugin.new_file import replace_file


class State(StrEnum):
    """How a run stands."""

    WAITING = "waiting"
    """It has not begun, or was interrupted and goes on."""

    TRAINING = "training"
    """It is at work, or was when its sweep was killed."""

    PAUSED = "paused"
    """It has come to a step of the halving."""

    FINISHED = "finished"
    """It is trained to the end."""

    SCORING = "scoring"
    """It is trained, and translates the test set."""

    FAILED = "failed"
    """A program of it failed."""


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """What is known of a run."""

    recipe: Mapping[str, Any]
    """All that it is trained from."""

    state: State = State.WAITING
    """How it stands."""

    paused_at: int = 0
    """The step of the halving that it has come to; 0 where there was none."""

    is_trained: bool = False
    """Whether training is over, whatever became of it since."""

    seconds: float = 0.0
    """Wall time of its programs over all sittings, but for those that were killed outright."""

    problem: str | None = None
    """What its log ends with, where it failed."""

    scored: Mapping[str, Any] | None = None
    """What its scores on the test set were made from, or are being made from; None without any."""

    def but(self, **changes: Any) -> RunRecord:
        """The same with some fields changed."""
        return replace(self, **changes)


def read_record(file: Path) -> RunRecord | None:
    """The record, or None where there is none.

    Raises:
        DataError: it is no record.
    """
    content = _read(file)
    if content is None:
        return None
    try:
        return RunRecord(**{**content, "state": State(content["state"])})
    except (TypeError, KeyError, ValueError):
        raise DataError(file, "is not the record of a run; remove it with the run") from None


def write_record(file: Path, record: RunRecord) -> None:
    """Write the record, whole or not at all."""
    replace_file(file, json.dumps(asdict(record), indent=2, ensure_ascii=False) + "\n")


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What was decided at one step of a row's halving."""

    step: int
    """The step."""

    keep: float
    """The share that was to go on."""

    scores: Mapping[str, float]
    """Trial → its mean score on the validation set; a trial that failed has none."""

    kept: Sequence[str]
    """The trials that go on."""


def read_decisions(file: Path) -> list[Decision]:
    """The decisions on a row so far.

    Raises:
        DataError: the file is damaged.
    """
    try:
        return [Decision(**each) for each in _read(file) or []]
    except TypeError:
        raise DataError(file, "is not the record of a halving") from None


def write_decisions(file: Path, decisions: Sequence[Decision]) -> None:
    """Write them, whole or not at all."""
    replace_file(file, json.dumps([asdict(each) for each in decisions], indent=2) + "\n")


def _read(file: Path) -> Any:
    if not file.is_file():
        return None
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        raise DataError(file, "is not JSON; it is damaged") from None
