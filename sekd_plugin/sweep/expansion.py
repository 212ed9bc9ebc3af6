"""From a sweep file to rows, trials and runs.

A *row* is a line of the table. A *trial* is one setting; a row that is tuned has several. A *run*
is a trial with a seed.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sekd_plugin.errors import ConfigError
from sekd_plugin.settings_tree import with_texts
from sekd_plugin.shortest_endings import shortest_endings
from sekd_plugin.sweep.settings import RowSection
from sekd_plugin.sweep.table import chosen_rows

SEED_KEY = "common.seed"
"""The key of a recipe that takes the seed."""

_NAME = re.compile(r"\w[\w.+-]*")
_BUNDLE = "settings."


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One setting."""

    name: str
    """``ROW``, or ``ROW/KEY=VALUE,KEY=VALUE`` where a row has several; also its folder's."""

    settings: Mapping[str, object]
    """Dotted key → value, with ``{seed}`` still in it."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of the table."""

    name: str
    """``NAME``, or ``NAME,KEY=VALUE`` of a grid."""

    trials: tuple[Trial, ...]
    """At least one."""

    is_choice: bool = False
    """Whether its trials are those of other rows."""

    @property
    def is_tuned(self) -> bool:
        """Whether one of several trials of its own is chosen."""
        return len(self.trials) > 1 and not self.is_choice


def expand(rows: Mapping[str, RowSection], common: Mapping[str, object]) -> list[Row]:
    """Every row with its trials, in the order of the file.

    Args:
        rows: the file's rows by name.
        common: what all rows change; a row's own settings go before it.

    Raises:
        ConfigError: a name that cannot be one, or that two values have.
    """
    found: list[Row] = []
    for name, section in rows.items():
        place = f"rows.{name}"
        check_name(place, name)
        if section.choose:
            if section.settings or section.grid or section.tune:
                raise ConfigError(f"{place}.choose", "stands alone; remove the row's other keys")
            found.append(Row(name=name, trials=(), is_choice=True))
            continue
        for chosen in _combinations(section.grid, f"{place}.grid"):
            row_name = ",".join([name, *chosen.labels])
            trials = tuple(
                Trial(
                    name="/".join([row_name, *([",".join(tried.labels)] if tried.labels else [])]),
                    settings=layered(common, section.settings, chosen.settings, tried.settings),
                )
                for tried in _combinations(section.tune, f"{place}.tune")
            )
            found.append(Row(name=row_name, trials=trials))
    if not found:
        raise ConfigError("rows", "is empty; it needs at least one")
    return [_choice(row, rows[row.name].choose, found) if row.is_choice else row for row in found]


def _choice(row: Row, asked: Sequence[str], rows: Sequence[Row]) -> Row:
    own = {each.name: each for each in rows if not each.is_choice}
    names = chosen_rows(asked, list(own), f"rows.{row.name}.choose")
    trials = tuple(trial for name in names for trial in own[name].trials)
    return Row(name=row.name, trials=trials, is_choice=True)


def layered(*layers: Mapping[str, object]) -> dict[str, object]:
    """Dotted settings of which later ones go before, also where they replace a whole section."""
    result: dict[str, object] = {}
    for layer in layers:
        for replaced in layer:
            result = {k: v for k, v in result.items() if not k.startswith(f"{replaced}.")}
        result |= layer
    return result


@dataclass(frozen=True)
class _Combination:
    labels: tuple[str, ...]
    settings: Mapping[str, object]


def _combinations(axes: Mapping[str, object], place: str) -> list[_Combination]:
    short = [".".join(ending) for ending in shortest_endings([key.split(".") for key in axes])]
    choices = [_choices(key, values, f"{place}.{key}") for key, values in axes.items()]
    return [
        _Combination(
            labels=tuple(f"{name}={label}" for name, (label, _) in zip(short, chosen, strict=True)),
            settings={key: value for _, given in chosen for key, value in given.items()},
        )
        for chosen in itertools.product(*choices)
    ]


def _choices(key: str, values: object, place: str) -> list[tuple[str, Mapping[str, object]]]:
    """Label and settings of every value of an axis."""
    if isinstance(values, Mapping):
        named = [(str(label), value) for label, value in values.items()]
    elif isinstance(values, Sequence) and not isinstance(values, str):
        named = [(_label(value, place), value) for value in values]
    else:
        raise ConfigError(
            place, f"{values!r} is not allowed; it must be a list, or a mapping of names to values"
        )
    if not named:
        raise ConfigError(place, "is empty; it needs at least one value")
    seen: set[str] = set()
    for label, _ in named:
        check_name(place, label, negative=True)
        if label in seen:
            raise ConfigError(place, f"'{label}' stands there twice")
        seen.add(label)
    if not key.startswith(_BUNDLE):
        return [(label, {key: value}) for label, value in named]
    bundles = []
    for label, value in named:
        if not isinstance(value, Mapping):
            raise ConfigError(f"{place}.{label}", f"{value!r} must be a mapping of settings")
        bundles.append((label, check_dotted(value, f"{place}.{label}")))
    return bundles


def check_dotted(settings: Mapping[str, object], place: str) -> Mapping[str, object]:
    """The settings themselves, if every key is a dotted one.

    Raises:
        ConfigError: one is not.
    """
    for key in settings:
        if not isinstance(key, str) or "" in key.split("."):
            raise ConfigError(f"{place}.{key}", "is not a dotted key, as criterion.config.beta")
    return settings


def _label(value: object, place: str) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int | float | str) and _NAME.fullmatch(str(value).removeprefix("-")):
        return str(value)
    raise ConfigError(place, f"{value!r} makes no name; write 'NAME: VALUE' instead of a list")


def check_name(place: str, name: object, *, negative: bool = False) -> None:
    """Check that a name can be a folder's.

    Raises:
        ConfigError: it cannot.
    """
    text = str(name).removeprefix("-") if negative else str(name)
    if not _NAME.fullmatch(text) or text.startswith("seed_"):
        raise ConfigError(
            place,
            f"the name '{name}' is not allowed; it takes letters, digits, and any of . + - _ "
            "after the first, and does not begin with seed_",
        )


def settings_of_run(trial: Trial, seed: int) -> dict[str, object]:
    """A trial's settings with the seed put in.

    ``{seed}`` alone becomes the number; within a text it becomes its digits.
    """

    def seeded(text: str) -> object:
        return seed if text == "{seed}" else text.replace("{seed}", str(seed))

    return {SEED_KEY: seed, **with_texts(trial.settings, seeded)}


def laid_over(recipe: Mapping[str, object], settings: Mapping[str, object]) -> dict[str, object]:
    """A copy of a recipe in which each setting replaces all that stood at its dotted key.

    Longer keys are laid later, so that ``a.b`` changes what ``a`` has put there.
    """
    result = dict(recipe)
    for key in sorted(settings, key=lambda each: each.count(".")):
        *above, last = key.split(".")
        place = result
        for part in above:
            child = place.get(part)
            place[part] = dict(child) if isinstance(child, Mapping) else {}
            place = place[part]  # type: ignore[assignment]
        place[last] = settings[key]
    return result
