"""What ``demo.yaml`` says."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sekd_plugin.demo.recipe import positive_int, section
from sekd_plugin.errors import ConfigError, did_you_mean
from sekd_plugin.recipe_file import read_yaml

_KEYS = ("corpus", "continuations", "evaluation", "report", "expected_seconds")


@dataclass(frozen=True, kw_only=True)
class DemoSettings:
    """What the demo does around the trainings."""

    folder: Path
    """Where ``demo.yaml`` and the training recipes are."""

    train: Path
    """Training pairs."""

    valid: Path
    """Validation pairs."""

    test: Path
    """Test pairs."""

    continuations: tuple[str, ...]
    """The recipes that continue from the student, in the order of the report."""

    baselines: tuple[str, ...]
    """The continuations that the other systems are compared with."""

    beam_size: int
    """1 is greedy."""

    num_sentences: int
    """How many test sentences the report shows."""

    seed: int
    """Decides which ones."""

    expected_seconds: Mapping[str, float]
    """Stage → how long it takes on a quiet machine; stages that are missing count as nothing."""


def read_settings(folder: Path) -> DemoSettings:
    """Read ``demo.yaml`` in ``folder``.

    Raises:
        DataError: it is missing or not YAML.
        ConfigError: a setting is unknown, missing or cannot be used.
    """
    file = folder / "demo.yaml"
    content = read_yaml(file)
    _only(content, _KEYS, "")
    corpus = section(content, "corpus", file)
    _only(corpus, ("train", "valid", "test"), "corpus.")
    evaluation = section(content, "evaluation", file)
    _only(evaluation, ("baselines", "beam_size"), "evaluation.")
    report = section(content, "report", file)
    _only(report, ("num_sentences", "seed"), "report.")
    continuations = _names(content, "continuations", "")
    baselines = _names(evaluation, "baselines", "evaluation.")
    for name in baselines:
        if name not in continuations:
            raise ConfigError(
                "evaluation.baselines",
                f"'{name}' is not a continuation; {did_you_mean(name, continuations)}",
            )
    seed = report.get("seed")
    if not isinstance(seed, int):
        raise ConfigError("report.seed", f"is {seed!r}; it must be a whole number")
    return DemoSettings(
        folder=folder,
        train=_path(corpus, "train", folder),
        valid=_path(corpus, "valid", folder),
        test=_path(corpus, "test", folder),
        continuations=continuations,
        baselines=baselines,
        beam_size=positive_int(evaluation, "beam_size", file, "evaluation."),
        num_sentences=positive_int(report, "num_sentences", file, "report."),
        seed=seed,
        expected_seconds=_seconds(content),
    )


def _only(values: Mapping[str, Any], known: Collection[str], prefix: str) -> None:
    for key in values:
        if key not in known:
            raise ConfigError(f"{prefix}{key}", f"is not a setting; {did_you_mean(key, known)}")


def _names(values: Mapping[str, Any], key: str, prefix: str) -> tuple[str, ...]:
    names = values.get(key)
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise ConfigError(prefix + key, f"is {names!r}; it must be a list of names")
    return tuple(names)


def _path(values: Mapping[str, Any], key: str, folder: Path) -> Path:
    value = values.get(key)
    if not isinstance(value, str):
        raise ConfigError(f"corpus.{key}", f"is {value!r}; it must be a file's name")
    return Path(value.replace("${dir}", str(folder))).resolve()


def _seconds(content: Mapping[str, Any]) -> Mapping[str, float]:
    seconds = content.get("expected_seconds") or {}
    if not isinstance(seconds, Mapping):
        raise ConfigError("expected_seconds", f"is {seconds!r}; it must be a mapping")
    for stage, value in seconds.items():
        if not isinstance(value, int | float) or value < 0:
            raise ConfigError(f"expected_seconds.{stage}", f"is {value!r}; it must be a number")
    return {str(stage): float(value) for stage, value in seconds.items()}
