"""What the demo must know of a training recipe beforehand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sekd_plugin.errors import ConfigError
from sekd_plugin.recipe_file import read_yaml


@dataclass(frozen=True, kw_only=True)
class DemoRecipe:
    """One training recipe of the demo."""

    name: str
    """The file's name without its ending; also the run's."""

    file: Path
    """The recipe."""

    content: Mapping[str, Any]
    """What it says."""

    num_steps: int
    """How long it trains; ``--steps`` may have shortened it."""

    overrides: tuple[str, ...]
    """Settings that shorten it, as ``key=value``."""

    @property
    def needs_teacher(self) -> bool:
        """Whether it has a section for the teacher."""
        return self.content.get("teacher") is not None


def read_demo_recipe(file: Path, most_steps: int | None = None) -> DemoRecipe:
    """Read a recipe, shortened to ``most_steps`` steps if it is longer.

    Raises:
        DataError: it is missing or not YAML.
        ConfigError: it does not say how long to train.
    """
    content = read_yaml(file)
    regime = section(content, "regime", file)
    full = positive_int(regime, "num_steps", file, "regime.")
    if most_steps is None or most_steps >= full:
        return DemoRecipe(name=file.stem, file=file, content=content, num_steps=full, overrides=())
    return DemoRecipe(
        name=file.stem,
        file=file,
        content=content,
        num_steps=most_steps,
        overrides=_shortened(content, full, most_steps),
    )


def _shortened(content: Mapping[str, Any], full: int, steps: int) -> tuple[str, ...]:
    """The settings of a run of ``steps`` steps: a few reports, validations and checkpoints."""
    report = max(1, steps // 8)
    often = report * max(1, steps // (2 * report))
    overrides = [
        f"regime.num_steps={steps}",
        f"regime.publish_metrics_every_n_steps={report}",
        f"regime.validate_every_n_steps={often}",
        f"regime.checkpoint_every_n_steps={often}",
    ]
    scheduler = content.get("lr_scheduler") or {}
    warmup = (scheduler.get("config") or {}).get("num_warmup_steps")
    if isinstance(warmup, int):
        overrides.append(f"lr_scheduler.config.num_warmup_steps={warmup * steps // full}")
    return tuple(overrides)


def section(content: Mapping[str, Any], key: str, file: Path) -> Mapping[str, Any]:
    """A mapping inside ``content``.

    Raises:
        ConfigError: it is missing or no mapping.
    """
    value = content.get(key)
    if not isinstance(value, Mapping):
        raise ConfigError(key, f"is {value!r} in {file}; it must be a mapping")
    return value


def positive_int(values: Mapping[str, Any], key: str, file: Path, prefix: str = "") -> int:
    """A whole number from 1.

    Raises:
        ConfigError: it is missing or anything else.
    """
    value = values.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigError(prefix + key, f"is {value!r} in {file}; it must be a whole number from 1")
    return value
