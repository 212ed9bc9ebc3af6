"""Reads a sweep file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from sekd_plugin.checks import at_least, between
from sekd_plugin.errors import ConfigError, SekdError, did_you_mean
from sekd_plugin.recipe_file import place_folder, read_yaml
from sekd_plugin.sweep.expansion import Row, check_dotted, check_name, expand, layered
from sekd_plugin.sweep.settings import (
    EvaluationSection,
    HalvingSection,
    RowSection,
    SweepSettings,
    TableSection,
)
from sekd_plugin.sweep.table import Table, chosen_rows
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

    tables: tuple[Table, ...]
    """Its tables of some of the rows."""

    @property
    def whole(self) -> Table:
        """The table of all rows."""
        return Table(
            name=self.name,
            title=self.name,
            rows=tuple(row.name for row in self.rows),
            baseline=self.settings.baseline,
        )


def read_sweep(file: Path, over: Sequence[Path] = ()) -> SweepFile:
    """Read a sweep file and the recipe that it names.

    Args:
        file: the sweep file.
        over: files of which every key that they have goes before the sweep file's, the last
            file's first; the keys of ``settings``, ``rows`` and ``tables`` one by one.

    Raises:
        ConfigError, DataError: what is wrong, in one line.
    """
    content: dict[str, Any] = {}
    try:
        for each in (file, *over):
            content = _laid_over(content, place_folder(read_yaml(each), each.resolve().parent))
        check_section(content, SweepSettings, "")
        settings = _settings(content)
        sections = {str(name): _row(name, row) for name, row in settings.rows.items()}
        rows = expand(sections, settings.settings)
        _check_choices(rows, settings.halving)
        names = [row.name for row in rows]
        _check(settings, names)
        tables = tuple(
            _table(name, section, names, settings.baseline)
            for name, section in settings.tables.items()
        )
    except ConfigError as error:
        place = ", ".join(map(str, (file, *over)))
        raise SekdError(f"{place}: {error}") from None
    recipe = place_folder(read_yaml(settings.recipe), settings.recipe.resolve().parent)
    return SweepFile(
        name=file.stem, settings=settings, recipe=recipe, rows=tuple(rows), tables=tables
    )


def _laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**below, **above}
    if isinstance(above.get("settings"), Mapping):
        check_dotted(above["settings"], "settings")
    for key, lay in (("settings", layered), ("rows", _replaced), ("tables", _replaced)):
        one, two = below.get(key), above.get(key)
        if isinstance(one, Mapping) and isinstance(two, Mapping):
            merged[key] = lay(one, two)
    return merged


def _replaced(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    return {**below, **above}


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
    for key in ("settings", "grid", "tune"):
        check_dotted(section.get(key, {}), f"{place}.{key}")
    return RowSection(**section)


def _check_choices(rows: Sequence[Row], halving: HalvingSection | None) -> None:
    halved = {trial.name for row in rows if row.is_tuned for trial in row.trials}
    for row in rows:
        if halving is not None and row.is_choice and any(t.name in halved for t in row.trials):
            raise ConfigError(
                f"rows.{row.name}.choose",
                "names a row with trials that halving gives up; remove halving, or the choice",
            )


def _table(name: object, content: object, rows: Sequence[str], baseline: str | None) -> Table:
    place = f"tables.{name}"
    check_name(place, name)
    check_section(content, TableSection, place)
    section = TableSection(**cast("Mapping[str, Any]", content))
    chosen = chosen_rows(section.rows, rows, f"{place}.rows")
    against = section.baseline or baseline
    if section.baseline is not None and section.baseline not in chosen:
        near = did_you_mean(section.baseline, chosen)
        raise ConfigError(
            f"{place}.baseline", f"'{section.baseline}' is not one of its rows; {near}"
        )
    return Table(
        name=str(name),
        title=section.title or str(name),
        rows=tuple(chosen),
        baseline=against if against in chosen else None,
    )


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
