"""What can be found wrong with a recipe before anything is loaded, started or written."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import torch
from fairseq2.runtime.dependency import DependencyResolver

from sekd_plugin.checks import at_least
from sekd_plugin.corpus import PromptTemplate, read_pairs
from sekd_plugin.errors import ConfigError, did_you_mean
from sekd_plugin.toolkits.fairseq2.cached_teacher import check_cache_fits, open_cache
from sekd_plugin.toolkits.fairseq2.dataset import check_file
from sekd_plugin.toolkits.fairseq2.device import chosen_device
from sekd_plugin.toolkits.fairseq2.model_checks import check_model, stated_sizes
from sekd_plugin.toolkits.fairseq2.model_kind import ModelKind
from sekd_plugin.toolkits.fairseq2.model_kinds import check_same_kind, stated_kind
from sekd_plugin.toolkits.fairseq2.recipe import build_criterion
from sekd_plugin.toolkits.fairseq2.sections import CorpusSection, TrainingConfig
from sekd_plugin.toolkits.fairseq2.teacher_gangs import check_processes
from sekd_plugin.toolkits.fairseq2.tokenizer_file import load_tokenizer
from sekd_plugin.toolkits.fairseq2.vocabulary import check_sizes


def check_recipe(config: TrainingConfig, resolver: DependencyResolver) -> None:
    """Check what the recipe names: criterion, models, files and device.

    Raises:
        ConfigError, DataError: what is wrong, in one line.
    """
    device = chosen_device(os.environ.get("FAIRSEQ2_DEVICE"))
    criterion = build_criterion(config, device)
    if config.teacher is not None and config.teacher_cache is not None:
        raise ConfigError(
            "teacher_cache",
            "stands in for the teacher, and there is one; remove one of them "
            "(on the command line: --config teacher=null)",
        )
    kind = _checked_kind(config, resolver)
    _check_corpus(config.dataset)
    if config.translation.max_sentences is not None:
        at_least("translation.max_sentences", config.translation.max_sentences, 1)
    at_least("translation.max_target_tokens", config.translation.max_target_tokens, 1)
    at_least("translation.beam_size", config.translation.beam_size, 1)
    at_least("faults.max_skipped", config.faults.max_skipped, 0)
    if config.regime.score_metric == "bleu" and not config.translation.bleu:
        raise ConfigError("regime.score_metric", "bleu needs translation.bleu: true")
    if config.tokenizer.path is not None:
        _check_vocabulary_path(config.tokenizer.path)
    check_model("model", config.model, resolver)
    if config.teacher is not None:
        check_model("teacher", config.teacher, resolver)
    _check_vocabularies(config, kind, resolver)
    if config.teacher_cache is not None and kind is not None:
        size, _ = stated_sizes(config.model, resolver)
        check_cache_fits(open_cache(config, kind), criterion, size)
    if not config.common.no_sweep_dir:
        raise ConfigError(
            "common.no_sweep_dir",
            "must be true: with false the run lands in a folder below the one that is named, and "
            "the same command cannot resume it",
        )


def check_for_caching(config: TrainingConfig, resolver: DependencyResolver) -> None:
    """Check what of a recipe is needed to run its teacher: not the student, which may not be there.

    Raises:
        ConfigError, DataError: what is wrong, in one line.
    """
    if config.teacher is None:
        raise ConfigError("teacher", "is missing; there is nothing to cache without one")
    kind = stated_kind("teacher", config.teacher, resolver)
    if kind is not None:
        kind.check_dataset(config.dataset)
    _check_corpus(config.dataset)
    if config.tokenizer.path is None or config.tokenizer.family is None:
        raise ConfigError("tokenizer.path", "path and family of the vocabulary are both needed")
    check_processes(config.gang)
    _check_vocabulary_path(config.tokenizer.path)
    check_model("teacher", config.teacher, resolver)
    _check_vocabularies(config, kind, resolver)


def _checked_kind(config: TrainingConfig, resolver: DependencyResolver) -> ModelKind | None:
    """The student's kind, checked against teacher and dataset; None where it is not known yet."""
    kind = stated_kind("model", config.model, resolver)
    if kind is None:
        return None
    if config.teacher is not None:
        check_same_kind(kind, stated_kind("teacher", config.teacher, resolver) or kind)
    kind.check_dataset(config.dataset)
    return kind


def _check_corpus(corpus: CorpusSection) -> None:
    try:
        PromptTemplate(corpus.template)
        at_least("batch_tokens", corpus.batch_tokens, 1)
        at_least("max_source_tokens", corpus.max_source_tokens, 1)
        at_least("max_target_tokens", corpus.max_target_tokens, 1)
    except ConfigError as error:
        raise error.within("dataset") from None
    if not corpus.train:
        raise ConfigError("dataset.train", "is empty; it needs at least one file, as '- path: …'")
    if not corpus.shuffle and any(file.weight != 1.0 for file in corpus.train):
        raise ConfigError(
            "dataset.shuffle",
            "false reads every sentence once; it must be true where a file has a weight",
        )
    for split, files in (("train", corpus.train), ("valid", corpus.valid)):
        for number, file in enumerate(files):
            key = f"dataset.{split}.{number}"
            check_file(key, file)
            pairs = read_pairs(
                file.path,
                target_path=file.target_path,
                source_field=file.source_field,
                target_field=file.target_field,
            )
            # All of them: a broken line is better told now than by a long log's last line.
            deque(pairs, maxlen=0)


def _check_vocabulary_path(path: Path) -> None:
    """A vocabulary is a file, or a folder as Hugging Face saves one."""
    if path.is_file() or (path / "tokenizer_config.json").is_file():
        return
    if path.is_dir():
        raise ConfigError("tokenizer.path", f"{path} is a folder without a tokenizer_config.json")
    near = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    raise ConfigError("tokenizer.path", f"{path} is not a file; {did_you_mean(path.name, near)}")


def _check_vocabularies(
    config: TrainingConfig, kind: ModelKind | None, resolver: DependencyResolver
) -> None:
    """Whether models, languages and vocabulary fit; loaded models tell what a recipe does not."""
    family, path = config.tokenizer.family, config.tokenizer.path
    if path is None or family is None:
        return
    overrides = cast("Mapping[str, object] | None", config.tokenizer.config_overrides)
    tokenizer = load_tokenizer(family, path, torch.device("cpu"), overrides)
    if kind is not None:
        for file in (*config.dataset.train, *config.dataset.valid):
            kind.encoding(config.dataset, file, tokenizer)
    info = tokenizer.vocab_info
    size, pad = stated_sizes(config.model, resolver)
    check_sizes("model", size=size, pad=pad, info=info)
    if config.teacher is not None:
        teacher_size, pad = stated_sizes(config.teacher, resolver)
        check_sizes("teacher", size=teacher_size, pad=pad, info=info, student_size=size)
