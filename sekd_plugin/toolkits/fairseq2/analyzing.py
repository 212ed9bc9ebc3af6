"""From the names of runs, a teacher and a development set to everything an analysis is made of."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from fairseq2.data.tokenizers import Tokenizer
from fairseq2.gang import create_fake_gangs
from fairseq2.runtime.dependency import get_dependency_resolver
from torch import Tensor
from torch.nn import Module

from sekd_plugin.analysis.difficulty.analysis import Analysis, Checkpoint, Choice, Sentence
from sekd_plugin.analysis.difficulty.candidates import Candidate
from sekd_plugin.analysis.difficulty.token_table import TokenTable
from sekd_plugin.base_criterion import criteria
from sekd_plugin.baselines import WordKD
from sekd_plugin.checksum import sha256_of_files
from sekd_plugin.construction import settings_of
from sekd_plugin.criterion import SelfEvolutionKD
from sekd_plugin.divergences import Divergence, divergences
from sekd_plugin.errors import ConfigError, SekdError
from sekd_plugin.plugins import import_plugins
from sekd_plugin.progress import Progress
from sekd_plugin.toolkits.fairseq2.checkpoint_choice import chosen_checkpoints, run_and_choice
from sekd_plugin.toolkits.fairseq2.dataset import EncodedCorpus, encode_corpus
from sekd_plugin.toolkits.fairseq2.decoder_only import template_of
from sekd_plugin.toolkits.fairseq2.loading import load_exported_model, load_run_model
from sekd_plugin.toolkits.fairseq2.measured_corpus import (
    Measurement,
    measure_corpus,
    token_places,
)
from sekd_plugin.toolkits.fairseq2.model_kind import ModelKind
from sekd_plugin.toolkits.fairseq2.model_kinds import check_same_kind, kind_of_class
from sekd_plugin.toolkits.fairseq2.piece_texts import PieceTexts
from sekd_plugin.toolkits.fairseq2.preflight import check_checkpoint
from sekd_plugin.toolkits.fairseq2.sections import CorpusFileSection, TrainingConfig
from sekd_plugin.toolkits.fairseq2.sequence_to_sequence.kind import languages_of
from sekd_plugin.toolkits.fairseq2.teacher_model import load_teacher
from sekd_plugin.toolkits.fairseq2.tokenizer_file import recipe_tokenizer
from sekd_plugin.toolkits.fairseq2.vocabulary import check_vocabulary, padding_index

COMPARED = ("forward_kl", "reverse_kl", "jensen_shannon", "skew_forward_kl", "total_variation")
"""The divergences that are compared where none is named."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is analysed, named but not loaded."""

    runs: Sequence[str]
    """``RUN``, ``RUN@step_N``, ``RUN@best``, ``RUN@all``; Γ is given for the last checkpoint."""

    config: TrainingConfig
    """The recipe: teacher, vocabulary, prompt, validation files, criterion."""

    files: Sequence[CorpusFileSection]
    """The development set."""

    teacher: str | None = None
    """A run, or a folder exported for Hugging Face; None is the recipe's."""

    divergences: Sequence[Choice] = ()
    """What to compare with the criterion's own; none is :data:`COMPARED`."""

    thresholds: Sequence[Candidate] = ()
    """Thresholds to look at beside those that there are."""

    sentences: int | None = None
    """Only the first so many sentences; None is all of them."""

    reference_ratio: float = 0.2
    """The share of hard tokens that the parts are shown for."""

    shown: int = 2000
    """How many sentences the page shows at most."""

    batch_tokens: int = 4096
    """The most tokens in a batch, padding included; it changes speed and memory only."""


@dataclass(frozen=True)
class _Student:
    checkpoint: Checkpoint
    run: Path
    weights: Path


@dataclass(kw_only=True)
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

    students: Sequence[_Student] = field(default_factory=list)
    """The checkpoints."""

    @property
    def teacher(self) -> str:
        """What the teacher is read from."""
        section = self.subject.config.teacher
        if self.subject.teacher is not None:
            path = _teacher_path(self.subject)
            assert path is not None
            return _shown_path(path.resolve())
        assert section is not None
        return str(section.name) if section.path is None else _shown_path(section.path)


def plan_analysis(subject: Subject) -> Plan:
    """Look up all that is named, before anything is loaded.

    Raises:
        SekdError: something is not there, not known, or missing.
    """
    import_plugins(subject.config.plugins, "plugins")
    criterion, note, choices = _criterion(subject.config)
    plan = Plan(
        subject=subject,
        criterion=criterion,
        note=note,
        measures=_measures(subject, criterion, choices["difficulty"]),
        threshold=choices["threshold"],
        students=_students(subject.runs),
    )
    for each in subject.thresholds:
        each.create("--threshold")
    _check_teacher(subject)
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
    teacher = _teacher_path(subject)
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


def run_analysis(plan: Plan, device: torch.device, progress: Progress) -> Analysis:
    """Load teacher and students, one student at a time, and measure every token.

    Raises:
        SekdError: something does not fit together, or cannot be read.
    """
    subject, config = plan.subject, plan.subject.config
    tokenizer = recipe_tokenizer(config.tokenizer, device)
    progress.say(f"loading the teacher, {plan.teacher}")
    teacher = _load_teacher(subject, tokenizer, device)
    earlier: list[Tensor] = []
    table: TokenTable | None = None
    corpus: EncodedCorpus | None = None
    for number, each in enumerate(plan.students):
        student = load_run_model(each.run, each.weights, device)
        kind = kind_of_class("model", type(student))
        check_same_kind(kind, kind_of_class("teacher", type(teacher)))
        check_vocabulary("model", student, tokenizer)
        check_vocabulary("teacher", teacher, tokenizer, student=student)
        if corpus is None:
            kind.check_dataset(config.dataset)
            corpus = _corpus(subject, kind, tokenizer, student, teacher)
            longest = _longest_read(subject, kind, tokenizer, corpus)
        _check_lengths(longest, kind.longest(student), each.checkpoint.name)
        is_last = number == len(plan.students) - 1
        table = measure_corpus(
            student,
            teacher,
            corpus,
            _measurement(plan, kind, tokenizer, device, with_others=is_last),
            progress,
            each.checkpoint.name,
        )
        if not is_last:
            earlier.append(next(iter(table.difficulty.values())))
        del student
    assert corpus is not None and table is not None
    texts = PieceTexts(tokenizer)
    pieces = {piece: texts(piece) for piece in sorted(_pieces_of(corpus, table))}
    end = tokenizer.vocab_info.eos_idx
    return Analysis(
        teacher_weight=plan.criterion.teacher_weight,
        temperature=plan.criterion.temperature,
        measures=plan.measures,
        threshold=plan.threshold,
        teacher=plan.teacher,
        checkpoints=[each.checkpoint for each in plan.students],
        earlier=earlier,
        table=table,
        places=token_places(corpus, pieces, -1 if end is None else end),
        sentences=[
            Sentence(source=pair.source, target=pair.target, file=pair.file.name, line=pair.line)
            for pair in corpus.pairs
        ],
        dropped=corpus.dropped,
        pieces=pieces,
        reference_ratio=subject.reference_ratio,
        shown=subject.shown,
        own_thresholds=subject.thresholds,
    )


def shown_name(choice: Choice) -> str:
    """How a strategy is called in tables: its name, and its settings in brackets."""
    if isinstance(choice, str):
        return choice
    config = choice.get("config") or {}
    if not isinstance(config, Mapping) or not config:
        return str(choice.get("name"))
    settings = ", ".join(f"{key} {value}" for key, value in config.items())
    return f"{choice.get('name')} ({settings})"


def _criterion(config: TrainingConfig) -> tuple[SelfEvolutionKD, str | None, dict[str, Choice]]:
    """The recipe's criterion, or the method with what its settings share; what to say of it."""
    name, given = config.criterion.name, config.criterion.config
    made = criteria.create({"name": name, "config": given}, "criterion")
    settings = dict(given) if isinstance(given, Mapping) else {}
    note = None
    if not isinstance(made, SelfEvolutionKD):
        settings = {}
        note = (
            f"the recipe's criterion is {name}, which compares with no teacher; difficulty is that "
            "of self_evolution_kd with its defaults "
            "(others: --config criterion.name=self_evolution_kd criterion.config.…)"
        )
    if not isinstance(made, SelfEvolutionKD) or isinstance(made, WordKD):
        shared = {key: settings[key] for key in settings_of(SelfEvolutionKD) if key in settings}
        made = cast(
            SelfEvolutionKD,
            criteria.create({"name": "self_evolution_kd", "config": shared}, "criterion"),
        )
    own = settings_of(type(made))

    def choice(key: str, default: object) -> Choice:
        value = settings.get(key)
        return cast(Choice, own[key].default if value is None and key in own else value) or cast(
            Choice, default
        )

    difficulty = choice("difficulty", None) or choice("divergence", "forward_kl")
    return made, note, {"difficulty": difficulty, "threshold": choice("threshold", "dynamic")}


def _measures(subject: Subject, criterion: SelfEvolutionKD, own: Choice) -> dict[str, Choice]:
    """The criterion's own difficulty, then the others that can be measured with its λ."""
    found = {shown_name(own): own}
    chosen = subject.divergences or COMPARED
    if list(chosen) == ["all"]:
        chosen = _with_defaults()
    for choice in chosen:
        made = divergences.create(choice, "--divergence")
        if made.infinite_on_zero_target and not criterion.needs_teacher:
            if subject.divergences and list(subject.divergences) != ["all"]:
                raise ConfigError(
                    "--divergence",
                    f"{shown_name(choice)} is infinite against a one-hot target; it needs "
                    "criterion.config.teacher_weight above 0",
                )
            continue
        found.setdefault(shown_name(choice), choice)
    return found


def _with_defaults() -> list[str]:
    """Every divergence there is that needs no settings."""
    found = []
    for name in divergences.names():
        try:
            divergences.create(name, "--divergence")
        except ConfigError:
            continue
        found.append(name)
    return found


def _students(names: Sequence[str]) -> list[_Student]:
    found: dict[Path, _Student] = {}
    for name in names:
        run, choice = run_and_choice(name)
        for weights in chosen_checkpoints(run, choice):
            step = weights.parent.name
            checkpoint = Checkpoint(
                name=f"{run.resolve().name}@{step}",
                run=run.resolve().name,
                step=int(step.removeprefix("step_")),
            )
            found[weights.resolve()] = _Student(checkpoint, run, weights)
    return list(found.values())


def _check_teacher(subject: Subject) -> None:
    section = subject.config.teacher
    if subject.teacher is None and section is None:
        cached = subject.config.teacher_cache is not None
        why = "is a cache of listed words" if cached else "is missing"
        raise ConfigError(
            "teacher", f"{why}; name the teacher with --teacher RUN, or in the recipe"
        )
    path = _teacher_path(subject)
    if path is not None:
        check_checkpoint("teacher", path)


def _shown_path(path: Path) -> str:
    """A checkpoint of a run as ``RUN@step_N``, anything else as it is."""
    is_checkpoint = path.name == "model" and path.parent.parent.name == "checkpoints"
    return f"{path.parents[2].name}@{path.parent.name}" if is_checkpoint else str(path)


def _is_exported(folder: Path) -> bool:
    return any(folder.glob("*.safetensors"))


def _teacher_path(subject: Subject) -> Path | None:
    """The teacher's weights; None where fairseq2 knows it by name."""
    if subject.teacher is None:
        section = subject.config.teacher
        return None if section is None else section.path
    run, choice = run_and_choice(subject.teacher)
    return run if _is_exported(run) else chosen_checkpoints(run, choice)[-1]


def _load_teacher(subject: Subject, tokenizer: Tokenizer, device: torch.device) -> Module:
    if subject.teacher is None:
        assert subject.config.teacher is not None
        section, gangs = subject.config.teacher, create_fake_gangs(device)
        return load_teacher(section, get_dependency_resolver(), gangs)
    run, _ = run_and_choice(subject.teacher)
    if _is_exported(run):
        pad_idx = tokenizer.vocab_info.pad_idx
        return load_exported_model(run, pad_idx, device)
    weights = _teacher_path(subject)
    assert weights is not None
    return load_run_model(run, weights, device)


def _corpus(
    subject: Subject, kind: ModelKind, tokenizer: Tokenizer, student: Module, teacher: Module
) -> EncodedCorpus:
    corpus = encode_corpus(
        subject.files,
        key="--data",
        encodings=[
            kind.encoding(subject.config.dataset, file, tokenizer) for file in subject.files
        ],
        model_tokens={
            "student": kind.longest(student),
            "teacher": kind.longest(teacher),
        },
        keep_text=True,
    )
    first = slice(subject.sentences)
    return EncodedCorpus(
        prompts=corpus.prompts[first],
        prefixes=corpus.prefixes[first],
        targets=corpus.targets[first],
        places=corpus.places[first],
        pairs=corpus.pairs[first],
        weights=corpus.weights[first],
        dropped=corpus.dropped,
    )


def _longest_read(
    subject: Subject, kind: ModelKind, tokenizer: Tokenizer, corpus: EncodedCorpus
) -> list[int]:
    """The longest of each of the sequences that a model reads of a pair."""
    encoding = kind.encoding(subject.config.dataset, subject.files[0], tokenizer)
    read = map(encoding.sequences, corpus.prompts, corpus.targets)
    return [max(lengths) for lengths in zip(*(each.values() for each in read), strict=True)]


def _check_lengths(longest: Sequence[int], student: Sequence[int], name: str) -> None:
    """Check that a later student takes what was kept for the first one."""
    for length, most in zip(longest, student, strict=True):
        if length > most:
            raise SekdError(
                f"{name} takes {most} tokens, a sentence has {length}; name the student that "
                "takes fewest first, so that longer sentences are left out"
            )


def _measurement(
    plan: Plan,
    kind: ModelKind,
    tokenizer: Tokenizer,
    device: torch.device,
    *,
    with_others: bool,
) -> Measurement:
    main, *names = plan.measures
    others: dict[str, Divergence] = {}
    if with_others:
        others = {name: divergences.create(plan.measures[name], "--divergence") for name in names}
    return Measurement(
        kind=kind,
        criterion=plan.criterion,
        main=main,
        others=others,
        batch_tokens=plan.subject.batch_tokens,
        pad_index=padding_index(tokenizer),
        device=device,
    )


def _pieces_of(corpus: EncodedCorpus, table: TokenTable) -> set[int]:
    found = {word for target in corpus.targets for word in target}
    for likely in (table.teacher, table.student):
        found.update(torch.bincount(likely.words.flatten()).nonzero().flatten().tolist())
    return found


def _one_or_each(templates: list[str]) -> str | list[str]:
    """The prompt of every file; one where all have the same."""
    return templates[0] if len(set(templates)) == 1 else templates


def _plain(value: object) -> Any:
    """As JSON gives it back, so that what is recorded can be compared."""
    return json.loads(json.dumps(value, default=str))
