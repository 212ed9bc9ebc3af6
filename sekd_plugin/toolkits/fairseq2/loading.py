"""Loads what a training run left behind, or what was exported from it, to translate with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from fairseq2.data.tokenizers import Tokenizer
from fairseq2.gang import create_fake_gangs
from fairseq2.model_checkpoint import CorruptModelCheckpointError
from fairseq2.models import ModelFamily
from fairseq2.runtime.dependency import get_dependency_resolver
from fairseq2.utils.structured import StandardValueConverter, StructureError
from torch.nn import Module

from sekd_plugin.errors import ConfigError, DataError, SekdError, did_you_mean
from sekd_plugin.recipe_file import read_yaml
from sekd_plugin.toolkits.fairseq2.checkpoint_choice import chosen_checkpoint, run_and_choice
from sekd_plugin.toolkits.fairseq2.device import chosen_device
from sekd_plugin.toolkits.fairseq2.hugging_face_shape import exported_shape
from sekd_plugin.toolkits.fairseq2.model_checks import check_checkpoint
from sekd_plugin.toolkits.fairseq2.model_kind import ModelKind
from sekd_plugin.toolkits.fairseq2.model_kinds import kind_of_class
from sekd_plugin.toolkits.fairseq2.pair_encoding import PairEncoding, asked_by_default
from sekd_plugin.toolkits.fairseq2.sections import CorpusSection
from sekd_plugin.toolkits.fairseq2.sequence_to_sequence.hugging_face import exported_languages
from sekd_plugin.toolkits.fairseq2.tokenizer_file import load_tokenizer
from sekd_plugin.toolkits.fairseq2.translator import Translator
from sekd_plugin.toolkits.fairseq2.vocabulary import check_vocabulary

_MODEL_FAMILY: type[ModelFamily] = ModelFamily


def load_translator(
    name: str,
    *,
    tokenizer: Path | None = None,
    settings: Mapping[str, str] | None = None,
    device: str | None = None,
) -> Translator:
    """The model of a training run.

    Args:
        name: the run's folder, or ``FOLDER@step_N``, ``FOLDER@best``, ``FOLDER@last``. Without a
            choice it is the last checkpoint.
        tokenizer: where the run's vocabulary lies now; None is where the run says.
        settings: settings of ``dataset`` other than the run's: another prompt, other languages.
        device: ``cpu``, ``cuda`` or ``cuda:N``; None takes CUDA where there is one.

    Raises:
        SekdError: there is no such run or checkpoint, or its parts do not fit together.
    """
    where = chosen_device(device)
    run, choice = run_and_choice(name)
    checkpoint = chosen_checkpoint(run, choice)
    record = run / "config.yaml"
    config = read_yaml(record)
    path = tokenizer or Path(_setting(record, config, "tokenizer", "path"))
    if not path.exists() and tokenizer is None:
        raise DataError(
            record,
            f"the tokenizer {path}, seen from {Path.cwd()}, does not exist; "
            "run this where the training ran, or name it with --tokenizer",
        )
    overrides = _value(config, "tokenizer", "config_overrides")
    pieces = load_tokenizer(
        _setting(record, config, "tokenizer", "family"),
        path,
        where,
        overrides if isinstance(overrides, Mapping) else None,
    )
    model = load_run_model(run, checkpoint, where)
    check_vocabulary("model", model, pieces)
    kind = kind_of_class("model", type(model))
    recorded = {
        key: value
        for key in kind.words_of_pairs
        if (value := _asked_by_default(config, key)) is not None
    }
    return Translator(
        model=model,
        kind=kind,
        tokenizer=pieces,
        encoding=_encoding(run, kind, {**recorded, **(settings or {})}, pieces),
        checkpoint=checkpoint,
        vocabulary=path,
        device=where,
    )


def load_run_model(run: Path, checkpoint: Path, device: torch.device) -> Module:
    """The model of one checkpoint of a run, in evaluation mode.

    Raises:
        SekdError: its parts do not fit together.
    """
    shape = run / "checkpoints" / "model.yaml"
    return _load_model(checkpoint, *_family_and_shape(shape), device)


def load_exported_model(folder: Path, pad_idx: int | None, device: torch.device) -> Module:
    """The model of a folder that was exported for Hugging Face, in evaluation mode.

    Raises:
        SekdError: a part is missing or does not fit.
    """
    check_checkpoint("model", folder)
    shape = exported_shape(folder / "config.json", pad_idx=pad_idx)
    return _load_model(folder, *shape, device)


def load_exported(
    folder: Path,
    *,
    family: str,
    tokenizer: Path,
    settings: Mapping[str, str],
    device: str | None = None,
) -> Translator:
    """A model exported for Hugging Face, with the vocabulary and prompt that go with it.

    Args:
        folder: what ``regime.export_hugging_face`` wrote, ``checkpoints/step_N/hg``; it may have
            been moved elsewhere.
        family: the tokenizer family of fairseq2, ``llama`` for a SentencePiece file.
        tokenizer: the vocabulary's file, or folder.
        settings: the prompt or the languages, by their names under ``dataset``.
        device: as for :func:`load_translator`.

    Raises:
        SekdError: a part is missing or does not fit.
    """
    where = chosen_device(device)
    check_checkpoint("model", folder)
    languages = exported_languages(folder)
    pieces = load_tokenizer(
        family, tokenizer, where, None if languages is None else {"langs": languages}
    )
    model = load_exported_model(folder, pieces.vocab_info.pad_idx, where)
    check_vocabulary("model", model, pieces)
    kind = kind_of_class("model", type(model))
    return Translator(
        model=model,
        kind=kind,
        tokenizer=pieces,
        encoding=_encoding(folder, kind, settings, pieces),
        checkpoint=folder,
        vocabulary=tokenizer,
        device=where,
    )


def _encoding(
    folder: Path, kind: ModelKind, settings: Mapping[str, str], tokenizer: Tokenizer
) -> PairEncoding:
    """How sentences are encoded, by settings of ``dataset``; errors name command-line options."""
    options = {key: "--" + key.replace("_", "-") for key in (*kind.words_of_pairs, *settings)}
    missing = [key for key in kind.words_of_pairs if key not in settings]
    if missing:
        needed = " and ".join(options[key] for key in missing)
        raise SekdError(
            f"{folder} does not say what its {kind.name} model reads, or says several things; "
            f"name {needed}"
        )
    try:
        dataset = CorpusSection(**cast("dict[str, Any]", dict(settings)))
        kind.check_dataset(dataset)
        return kind.encoding(dataset, None, tokenizer)
    except ConfigError as error:
        key = error.key.removeprefix("dataset.")
        raise ConfigError(options.get(key, error.key), error.problem) from None


def _asked_by_default(config: Mapping[str, object], key: str) -> str | None:
    """A setting of ``dataset``, as a run's record has it for all of its training files."""
    files, of_all = (_value(config, "dataset", name) for name in ("train", key))
    own = [_value(file, key) for file in files] if isinstance(files, list) else []
    return asked_by_default(
        [value if isinstance(value, str) else None for value in own],
        of_all if isinstance(of_all, str) else None,
    )


def _setting(file: Path, content: Mapping[str, object], *keys: str) -> str:
    value = _value(content, *keys)
    if not isinstance(value, str):
        raise DataError(file, f"{'.'.join(keys)} is not set; is it the record of a training run?")
    return value


def _value(content: Mapping[str, object], *keys: str) -> object:
    value: Any = content
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _family_and_shape(file: Path) -> tuple[str, Mapping[str, object]]:
    """What ``checkpoints/model.yaml`` says of the model."""
    content = read_yaml(file) if file.is_file() else {}
    shape = content.get("model_config")
    if not isinstance(shape, Mapping):
        raise DataError(file, "does not say of what shape the model is")
    return _setting(file, content, "model_family"), shape


def _load_model(
    checkpoint: Path, family_name: str, shape: Mapping[str, object], device: torch.device
) -> Module:
    """The weights in ``checkpoint`` as a model of the family and with the settings ``shape``."""
    families = {str(name) for name in get_dependency_resolver().iter_keys(_MODEL_FAMILY)}
    if family_name not in families:
        raise ConfigError(
            "family", f"'{family_name}' is not known; {did_you_mean(family_name, families)}"
        )
    family = get_dependency_resolver().resolve(_MODEL_FAMILY, key=family_name)
    try:
        model = family.load_custom_model(
            checkpoint,
            StandardValueConverter().structure(dict(shape), family.config_kls),
            create_fake_gangs(device),
            torch.float32,
            load_rank0_only=False,
            mmap=False,
            restrict=True,
        )
    except (CorruptModelCheckpointError, StructureError, KeyError, OSError, RuntimeError) as error:
        cause = f": {error.__cause__}" if error.__cause__ else ""
        text = " ".join(f"{error}{cause}".split())
        raise SekdError(f"{checkpoint} cannot be loaded: {text}") from None
    return model.eval()
