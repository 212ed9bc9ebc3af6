"""Measuring every token of a development set under every student of an analysis."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from fairseq2.data.tokenizers import Tokenizer
from torch import Tensor
from torch.nn import Module

from sekd_plugin.analysis.difficulty.analysis import Analysis, Sentence
from sekd_plugin.analysis.difficulty.token_table import TokenTable
from sekd_plugin.divergences import Divergence, divergences
from sekd_plugin.errors import SekdError
from sekd_plugin.progress import Progress
from sekd_plugin.toolkits.fairseq2.analyzing.plan import Plan
from sekd_plugin.toolkits.fairseq2.analyzing.subject import Subject
from sekd_plugin.toolkits.fairseq2.analyzing.teacher import loaded_teacher
from sekd_plugin.toolkits.fairseq2.dataset import EncodedCorpus, encode_corpus
from sekd_plugin.toolkits.fairseq2.loading import load_run_model
from sekd_plugin.toolkits.fairseq2.measured_corpus import (
    Measurement,
    measure_corpus,
    token_places,
)
from sekd_plugin.toolkits.fairseq2.model_kind import ModelKind
from sekd_plugin.toolkits.fairseq2.model_kinds import check_same_kind, kind_of_class
from sekd_plugin.toolkits.fairseq2.piece_texts import PieceTexts
from sekd_plugin.toolkits.fairseq2.tokenizer_file import recipe_tokenizer
from sekd_plugin.toolkits.fairseq2.vocabulary import check_vocabulary, padding_index


def run_analysis(plan: Plan, device: torch.device, progress: Progress) -> Analysis:
    """Load teacher and students, one student at a time, and measure every token.

    Raises:
        SekdError: something does not fit together, or cannot be read.
    """
    subject, config = plan.subject, plan.subject.config
    tokenizer = recipe_tokenizer(config.tokenizer, device)
    progress.say(f"loading the teacher, {plan.teacher}")
    teacher = loaded_teacher(subject, tokenizer, device)
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


def _corpus(
    subject: Subject, kind: ModelKind, tokenizer: Tokenizer, student: Module, teacher: Module
) -> EncodedCorpus:
    return encode_corpus(
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
        most=subject.sentences,
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
