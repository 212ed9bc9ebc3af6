"""What can be found wrong with a recipe before anything is loaded, started or written."""

from __future__ import annotations

import dataclasses
import os
import re
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from fairseq2.recipe.config import (
    ADAFACTOR_OPTIMIZER,
    ADAMW_OPTIMIZER,
    COSINE_ANNEALING_LR,
    MYLE_LR,
    NOAM_LR,
    PASSTHROUGH_LR,
    POLYNOMIAL_DECAY_LR,
    TRI_STAGE_LR,
    AdafactorConfig,
    AdamWConfig,
    CosineAnnealingLRConfig,
    ModelSection,
    MyleLRConfig,
    NoamLRConfig,
    PolynomialDecayLRConfig,
    ReferenceModelSection,
    TriStageLRConfig,
)
from fairseq2.runtime.dependency import DependencyResolver
from fairseq2.utils.config import StandardConfigMerger
from fairseq2.utils.structured import StandardValueConverter
from fairseq2.utils.validation import StandardObjectValidator, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from sekd_plugin.checks import at_least
from sekd_plugin.corpus import PromptTemplate, read_pairs
from sekd_plugin.errors import ConfigError, DataError, did_you_mean
from sekd_plugin.toolkits.fairseq2.cached_teacher import check_cache_fits, open_cache
from sekd_plugin.toolkits.fairseq2.dataset import check_file
from sekd_plugin.toolkits.fairseq2.device import chosen_device
from sekd_plugin.toolkits.fairseq2.model_config import model_config
from sekd_plugin.toolkits.fairseq2.model_kind import ModelKind
from sekd_plugin.toolkits.fairseq2.model_kinds import check_same_kind, stated_kind
from sekd_plugin.toolkits.fairseq2.recipe import build_criterion
from sekd_plugin.toolkits.fairseq2.schema import check_section
from sekd_plugin.toolkits.fairseq2.sections import CorpusSection, TrainingConfig
from sekd_plugin.toolkits.fairseq2.teacher_gangs import check_processes
from sekd_plugin.toolkits.fairseq2.tokenizer_file import load_tokenizer
from sekd_plugin.toolkits.fairseq2.vocabulary import check_sizes

_COMPONENTS: dict[str, dict[str, type[Any] | None]] = {
    "optimizer": {ADAMW_OPTIMIZER: AdamWConfig, ADAFACTOR_OPTIMIZER: AdafactorConfig},
    "lr_scheduler": {
        COSINE_ANNEALING_LR: CosineAnnealingLRConfig,
        MYLE_LR: MyleLRConfig,
        NOAM_LR: NoamLRConfig,
        PASSTHROUGH_LR: None,
        POLYNOMIAL_DECAY_LR: PolynomialDecayLRConfig,
        TRI_STAGE_LR: TriStageLRConfig,
    },
}


def load_recipe(file: Path | None, overrides: list[Mapping[str, object]]) -> TrainingConfig:
    """The recipe that a file and the command line amount to, every key and type checked.

    Raises:
        ConfigError, DataError: what is wrong, in one line.
    """
    converter = StandardValueConverter()
    merged = converter.unstructure(TrainingConfig())
    merger = StandardConfigMerger()
    if file is not None:
        merged = merger.merge(merged, place_folder(read_yaml(file), file.resolve().parent))
    for override in overrides:
        merged = merger.merge(merged, override)
    check_section(merged, TrainingConfig, "")
    sections = cast("Mapping[str, Any]", merged)
    for section, known in _COMPONENTS.items():
        if sections[section] is not None:
            _check_component(sections[section], known, section)
            sections[section]["config"] = _with_defaults(sections[section], known)
    config = cast(TrainingConfig, converter.structure(merged, TrainingConfig))
    try:
        StandardObjectValidator().validate(config)
    except ValidationError as error:
        raise _first_of(error) from None
    _check_schedule(sections["lr_scheduler"], config.regime.num_steps)
    return config


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
    _check_model("model", config.model, resolver)
    if config.teacher is not None:
        _check_model("teacher", config.teacher, resolver)
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
    _check_model("teacher", config.teacher, resolver)
    _check_vocabularies(config, kind, resolver)


def read_yaml(file: Path) -> Mapping[str, object]:
    """A YAML file as a mapping, read without making anything but plain values of it.

    Raises:
        DataError: it is missing, not YAML, or not a mapping.
    """
    if not file.is_file():
        near = [path.name for path in file.parent.glob("*.yaml")] if file.parent.is_dir() else []
        raise DataError(file, f"is not a recipe file; {did_you_mean(file.name, near)}")
    try:
        content = YAML(typ="safe", pure=True).load(file.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise DataError(file, f"is not UTF-8 text (byte {error.start})") from None
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = None if mark is None else mark.line + 1
        raise DataError(file, f"is not YAML: {getattr(error, 'problem', error)}", line) from None
    if not isinstance(content, Mapping):
        raise DataError(file, "must hold a mapping of sections, such as 'criterion: {name: …}'")
    return content


def place_folder(value: Any, folder: Path) -> Any:
    """``${dir}`` stands for the recipe's folder, as it does in fairseq2."""
    if isinstance(value, str):
        return value.replace("${dir}", str(folder))
    if isinstance(value, Mapping):
        return {key: place_folder(child, folder) for key, child in value.items()}
    if isinstance(value, list):
        return [place_folder(child, folder) for child in value]
    return value


def _check_component(
    section: Mapping[str, object], known: Mapping[str, type[Any] | None], key: str
) -> None:
    name = section.get("name")
    if name not in known:
        raise ConfigError(f"{key}.name", f"'{name}' is not known; {did_you_mean(name, known)}")
    kind, config = known[str(name)], section.get("config")
    if kind is not None and config is not None:
        check_section(config, kind, f"{key}.config")


def _with_defaults(section: Mapping[str, Any], known: Mapping[str, type[Any] | None]) -> object:
    """A component's settings with its defaults: so fairseq2 records them in the run's folder."""
    kind, config = known[section["name"]], section.get("config")
    if kind is None:
        return config
    return {
        **cast("Mapping[str, object]", StandardValueConverter().unstructure(kind())),
        **(config or {}),
    }


def _first_of(error: ValidationError) -> ConfigError:
    result, key = error.result, ""
    while not result.errors:
        name, result = next(iter(result.sub_results.items()))
        key = f"{key}.{name}" if key else name
    named = re.match(r"`(\w+)` (?!or )(.*)", result.errors[0])
    if named:
        key, problem = f"{key}.{named[1]}" if key else named[1], named[2]
    else:
        problem = result.errors[0]
    return ConfigError(key, problem.replace("`", ""))


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


def _check_schedule(section: Mapping[str, Any] | None, num_steps: int | None) -> None:
    """What fairseq2 tells of the learning-rate schedule only after it has loaded everything."""
    if section is None:
        raise ConfigError(
            "lr_scheduler",
            "null is not allowed; a rate that stays the same is {name: passthrough, config: null}",
        )
    is_cosine = section["name"] == COSINE_ANNEALING_LR
    if is_cosine and section["config"]["cycle_len"] is None and num_steps is None:
        raise ConfigError(
            "lr_scheduler.config.cycle_len",
            "is null; it must be a number of steps where regime.num_steps is null",
        )


def _check_vocabulary_path(path: Path) -> None:
    """A vocabulary is a file, or a folder as Hugging Face saves one."""
    if path.is_file() or (path / "tokenizer_config.json").is_file():
        return
    if path.is_dir():
        raise ConfigError("tokenizer.path", f"{path} is a folder without a tokenizer_config.json")
    near = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    raise ConfigError("tokenizer.path", f"{path} is not a file; {did_you_mean(path.name, near)}")


def _checked_kind(config: TrainingConfig, resolver: DependencyResolver) -> ModelKind | None:
    """The student's kind, checked against teacher and dataset; None where it is not known yet."""
    kind = stated_kind("model", config.model, resolver)
    if kind is None:
        return None
    if config.teacher is not None:
        check_same_kind(kind, stated_kind("teacher", config.teacher, resolver) or kind)
    kind.check_dataset(config.dataset)
    return kind


def _check_model(
    key: str, section: ModelSection | ReferenceModelSection, resolver: DependencyResolver
) -> None:
    if section.family is not None:
        # By its family alone: a name may stand for what fairseq2 learns of only as it starts.
        family, _ = model_config(key, dataclasses.replace(section, name=None), resolver)
        if section.config_overrides is not None and dataclasses.is_dataclass(family.config_kls):
            _check_tied_embeddings(key, section, family.config_kls)
    if section.path is not None:
        check_checkpoint(f"{key}.path", section.path)


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


def stated_sizes(
    section: ModelSection | ReferenceModelSection, resolver: DependencyResolver
) -> tuple[int | None, int | None]:
    """Vocabulary size and padding id of a model by its section; None where only a card says it."""
    if section.family is None or section.name is not None:
        return None, None
    _, shape = model_config("model", section, resolver)
    size, pad = (getattr(shape, key, None) for key in ("vocab_size", "pad_idx"))
    return size if isinstance(size, int) else None, pad if isinstance(pad, int) else None


def _check_tied_embeddings(
    key: str, section: ModelSection | ReferenceModelSection, kind: type[Any]
) -> None:
    """fairseq2 ties the output to the embeddings only where these are not cut by dimension."""
    defaults = {field.name: field.default for field in dataclasses.fields(kind)}
    overrides = cast("Mapping[str, object]", section.config_overrides)
    chosen = {**defaults, **overrides}
    if section.arch is None and chosen.get("tied_embeddings") and chosen.get("shard_embed_dim"):
        raise ConfigError(
            f"{key}.config_overrides.shard_embed_dim",
            "must be false with tied_embeddings: true",
        )


def check_checkpoint(key: str, path: Path) -> None:
    """Check that ``path`` holds a model: fairseq2's folders, or a Hugging Face folder or file.

    Raises:
        ConfigError: it does not exist or holds no checkpoint.
    """
    if not path.exists():
        near = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        raise ConfigError(key, f"{path} does not exist; {did_you_mean(path.name, near)}")
    if path.is_file():
        holds = path.suffix in (".pt", ".pth", ".bin", ".safetensors")
    else:
        holds = any(path.glob("*.safetensors")) or any(path.glob("pp_*/tp_*/sdp_*.pt"))
    if not holds:
        hint = ""
        if (path / "checkpoints").is_dir():
            steps = sorted(step.name for step in (path / "checkpoints").glob("step_*"))
            last = steps[-1] if steps else "step_N"
            hint = f"; it is a training folder: name {path}/checkpoints/{last}/model"
        elif any(path.glob("*.bin")):
            hint = (
                "; fairseq2 reads a folder's .safetensors only: save the .bin files once more, by "
                "save_pretrained of transformers"
            )
        raise ConfigError(key, f"{path} holds no model checkpoint{hint}")
