"""Reads a sweep file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from sekd_plugin.checks import at_least, between
from sekd_plugin.errors import ConfigError, SekdError, did_you_mean
from sekd_plugin.sweep.expansion import Row, expand
from sekd_plugin.sweep.settings import (
    EvaluationSection,
    HalvingSection,
    RowSection,
    SweepSettings,
)
from sekd_plugin.toolkits.fairseq2.preflight import place_folder, read_yaml
from sekd_plugin.toolkits.fairseq2.schema import check_section


@dataclass(frozen=True, kw_only=True)
class SweepFile:
    """What a sweep file says."""

    name: str
    """Its name without the ending."""

    settings: SweepSettings
    """All of it."""

    recipe: Mapping[str, object]
    """The recipe that it names."""

    rows: tuple[Row, ...]
    """Its rows with their trials."""


def read_sweep(file: Path) -> SweepFile:
    """Read a sweep file and the recipe that it names.

    Raises:
        ConfigError, DataError: what is wrong, in one line.
    """
    content = place_folder(read_yaml(file), file.resolve().parent)
    try:
        check_section(content, SweepSettings, "")
        settings = _settings(content)
        sections = {str(name): _row(name, row) for name, row in settings.rows.items()}
        rows = expand(sections, _dotted(settings.settings, "settings"))
        _check(settings, [row.name for row in rows])
    except ConfigError as error:
        raise SekdError(f"{file}: {error}") from None
    recipe = place_folder(read_yaml(settings.recipe), settings.recipe.resolve().parent)
    return SweepFile(name=file.stem, settings=settings, recipe=recipe, rows=tuple(rows))


def _settings(content: Mapping[str, Any]) -> SweepSettings:
    test = dict(content["test"])
    for key in ("path", "target_path"):
        if test.get(key) is not None:
            test[key] = Path(test[key])
    halving = content.get("halving")
    return SweepSettings(
        **{
            **content,
            "recipe": Path(content["recipe"]),
            "test": EvaluationSection(**test),
            "halving": None if halving is None else HalvingSection(**halving),
        }
    )


def _row(name: object, row: object) -> RowSection:
    place = f"rows.{name}"
    section = cast("Mapping[str, Any]", {} if row is None else row)
    check_section(section, RowSection, place)
    return RowSection(**{key: _dotted(value, f"{place}.{key}") for key, value in section.items()})


def _dotted(settings: Mapping[str, object], place: str) -> Mapping[str, object]:
    for key in settings:
        if not isinstance(key, str) or "" in key.split("."):
            raise ConfigError(f"{place}.{key}", "is not a dotted key, as criterion.config.beta")
    return settings


def _check(settings: SweepSettings, rows: list[str]) -> None:
    if not settings.seeds:
        raise ConfigError("seeds", "is empty; it needs at least one")
    for number, seed in enumerate(settings.seeds):
        at_least(f"seeds.{number}", seed, 0)
        if seed in settings.seeds[:number]:
            raise ConfigError("seeds", f"{seed} stands there twice")
    baseline = settings.baseline
    if baseline is not None and baseline not in rows:
        raise ConfigError("baseline", f"'{baseline}' is not a row; {did_you_mean(baseline, rows)}")
    at_least("test.beam_size", settings.test.beam_size, 1)
    at_least("test.bootstrap_samples", settings.test.bootstrap_samples, 1)
    if settings.halving is not None:
        between("halving.keep", settings.halving.keep, 0.0, 1.0, open_low=True, open_high=True)
        if not settings.halving.steps:
            raise ConfigError("halving.steps", "is empty; it needs at least one step")
        last = 0
        for number, step in enumerate(settings.halving.steps):
            at_least(f"halving.steps.{number}", step, last + 1)
            last = step
