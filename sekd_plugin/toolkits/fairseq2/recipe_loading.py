"""From a recipe's file and the command line to its settings, every key and type checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

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
    MyleLRConfig,
    NoamLRConfig,
    PolynomialDecayLRConfig,
    TriStageLRConfig,
)
from fairseq2.utils.config import StandardConfigMerger
from fairseq2.utils.structured import StandardValueConverter
from fairseq2.utils.validation import StandardObjectValidator, ValidationError

from sekd_plugin.errors import ConfigError, did_you_mean
from sekd_plugin.recipe_file import place_folder, read_yaml
from sekd_plugin.toolkits.fairseq2.schema import check_section
from sekd_plugin.toolkits.fairseq2.sections import TrainingConfig

COMPONENTS: dict[str, dict[str, type[Any] | None]] = {
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
"""Section → the names that fairseq2 knows there, each with the class of its settings."""


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
    for section, known in COMPONENTS.items():
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
