"""Looking up all that an analysis names, before anything is loaded."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from sekd_plugin.analysis.difficulty.analysis import Checkpoint, Choice
from sekd_plugin.checksum import sha256_of_files
from sekd_plugin.criterion import SelfEvolutionKD
from sekd_plugin.errors import ConfigError
from sekd_plugin.plugins import import_plugins
from sekd_plugin.shortest_endings import shortest_endings
from sekd_plugin.toolkits.fairseq2.analyzing.measures import asked_criterion, chosen_measures
from sekd_plugin.toolkits.fairseq2.analyzing.subject import Subject
from sekd_plugin.toolkits.fairseq2.analyzing.teacher import (
    check_teacher,
    teacher_name,
    teacher_path,
)
from sekd_plugin.toolkits.fairseq2.checkpoint_choice import chosen_checkpoints, run_and_choice
from sekd_plugin.toolkits.fairseq2.decoder_only import template_of
from sekd_plugin.toolkits.fairseq2.sequence_to_sequence.kind import languages_of


@dataclass(frozen=True, kw_only=True)
class Student:
    """A checkpoint, found but not loaded."""

    checkpoint: Checkpoint
    """What it is called."""

    run: Path
    """The training it is of."""

    weights: Path
    """Its weights."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A subject whose names were looked up; nothing is loaded yet."""

    subject: Subject
    """What is analysed."""

    criterion: SelfEvolutionKD
    """What is asked how difficult a token is."""

    note: str | None
    """What to say of it, if it is not the recipe's own."""

    measures: Mapping[str, Choice]
    """Name → divergence as a recipe names it, the criterion's own first."""

    threshold: Choice
    """The criterion's threshold, likewise."""

    students: Sequence[Student]
    """The checkpoints."""

    @property
    def teacher(self) -> str:
        """What the teacher is read from."""
        return teacher_name(self.subject)


def plan_analysis(subject: Subject) -> Plan:
    """Look up all that is named, before anything is loaded.

    Raises:
        SekdError: something is not there, not known, or missing.
    """
    import_plugins(subject.config.plugins, "plugins")
    asked = asked_criterion(subject.config)
    plan = Plan(
        subject=subject,
        criterion=asked.criterion,
        note=asked.note,
        measures=chosen_measures(subject, asked),
        threshold=asked.threshold,
        students=_students(subject.runs),
    )
    for each in subject.thresholds:
        each.create("--threshold")
    check_teacher(subject)
    if subject.config.tokenizer.path is None or subject.config.tokenizer.family is None:
        raise ConfigError("tokenizer.path", "path and family of the vocabulary are both needed")
    if not subject.files:
        raise ConfigError("dataset.valid", "is empty; name the development set with --data")
    return plan


def origin(plan: Plan) -> dict[str, Any]:
    """What an analysis follows from, as JSON; files stand there as their SHA-256.

    Raises:
        SekdError: a file cannot be read.
    """
    subject, config = plan.subject, plan.subject.config
    teacher = teacher_path(subject)
    return {
        "version": 1,
        "inputs": {
            "student": [sha256_of_files(each.weights) for each in plan.students],
            "teacher": plan.teacher if teacher is None else sha256_of_files(teacher),
            "vocabulary": sha256_of_files(cast(Path, config.tokenizer.path)),
            "development": [
                sha256_of_files(path)
                for file in subject.files
                for path in (file.path, file.target_path)
                if path is not None
            ],
        },
        "settings": {
            "checkpoints": [each.checkpoint.name for each in plan.students],
            "teacher": plan.teacher,
            "fields": [[file.source_field, file.target_field] for file in subject.files],
            "languages": [list(languages_of(config.dataset, file)) for file in subject.files],
            "template": _one_or_each([template_of(config.dataset, file) for file in subject.files]),
            "teacher_weight": plan.criterion.teacher_weight,
            "temperature": plan.criterion.temperature,
            "divergences": _plain(list(plan.measures.values())),
            "threshold": _plain(plan.threshold),
            "thresholds": [[each.name, _plain(each.config)] for each in subject.thresholds],
            "sentences": subject.sentences,
            "hard_ratio": subject.reference_ratio,
            "shown": subject.shown,
        },
    }


def _students(names: Sequence[str]) -> list[Student]:
    found: dict[Path, tuple[Path, Path]] = {}
    for name in names:
        run, choice = run_and_choice(name)
        for weights in chosen_checkpoints(run, choice):
            found.pop(weights.resolve(), None)  # named twice, it stands where it was named last
            found[weights.resolve()] = (run, weights)
    runs = [run.resolve().parts for run, _ in found.values()]
    return [
        Student(checkpoint=_checkpoint("/".join(ending), weights), run=run, weights=weights)
        for ending, (run, weights) in zip(shortest_endings(runs), found.values(), strict=True)
    ]


def _checkpoint(run: str, weights: Path) -> Checkpoint:
    step = weights.parent.name
    return Checkpoint(name=f"{run}@{step}", run=run, step=int(step.removeprefix("step_")))


def _one_or_each(templates: list[str]) -> str | list[str]:
    """The prompt of every file; one where all have the same."""
    return templates[0] if len(set(templates)) == 1 else templates


def _plain(value: object) -> Any:
    """As JSON gives it back, so that what is recorded can be compared."""
    return json.loads(json.dumps(value, default=str))
