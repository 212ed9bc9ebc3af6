"""What each registered threshold would make of these difficulties."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from sekd_plugin.errors import ConfigError
from sekd_plugin.thresholds import Threshold, implied_gamma, thresholds

SENSIBLE: Mapping[str, Sequence[Mapping[str, object]]] = {
    "dynamic": (
        {"statistic": "mean"},
        {"statistic": "quantile", "quantile": 0.7},
        {"statistic": "quantile", "quantile": 0.9},
    ),
    "target_ratio": ({"ratio": 0.1}, {"ratio": 0.3}),
    "top_k": ({"ratio": 0.2}, {"ratio": 0.2, "per": "sentence"}, {"k": 3, "per": "sentence"}),
    "schedule": ({"quantity": "ratio", "start": 0.1, "end": 0.5, "num_steps": 1000},),
}
"""Settings to look at, by the threshold's name; of a threshold that is not here, its defaults."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A threshold with its settings."""

    name: str
    """Its name."""

    config: Mapping[str, object]
    """Its settings."""

    @property
    def label(self) -> str:
        """Name and settings in one line."""
        settings = ", ".join(f"{key} {_word(value)}" for key, value in self.config.items())
        return f"{self.name}, {settings}" if settings else self.name

    def create(self, key: str) -> Threshold:
        """A new one; ``key`` is the setting that named it, for errors."""
        return thresholds.create({"name": self.name, "config": self.config}, key)


@dataclass(frozen=True, kw_only=True)
class Decided:
    """What a threshold makes of the difficulties."""

    candidate: Candidate
    """The threshold."""

    gamma: float | None
    """Γ, its own or the one that its decision implies; None where no one Γ decides so."""

    hard: Tensor
    """``[n]`` bool."""


def candidates(gammas: Sequence[float], own: Sequence[Candidate]) -> list[Candidate]:
    """The user's own, ``fixed`` at each of ``gammas``, and every other threshold there is.

    One that needs settings and has none here is left out.
    """
    found = [*own]
    found += [
        Candidate(name="fixed", config={"gamma": gamma}) for gamma in gammas if math.isfinite(gamma)
    ]
    for name in thresholds.names():
        if name == "fixed":
            continue
        for config in SENSIBLE.get(name, ({},)):
            candidate = Candidate(name=name, config=config)
            try:
                candidate.create("")
            except ConfigError:
                continue
            found.append(candidate)
    unique = {
        json.dumps([each.name, each.config], sort_keys=True, default=str): each for each in found
    }
    return list(unique.values())


def decide(candidate: Candidate, difficulty: Tensor, sentences: Tensor) -> Decided:
    """Let a threshold see all tokens as one finished step, then decide on them as one batch.

    One that does not look at difficulties decides as it does at the first step.

    Args:
        candidate: the threshold.
        difficulty: ``[n]``.
        sentences: ``[n]`` int64, the number of each token's sentence, never decreasing.

    Raises:
        ConfigError: its settings cannot be used.
    """
    threshold = candidate.create("threshold")
    if threshold.observes:
        threshold.step(difficulty.sort().values)
    hard = threshold.decide_by_sentence(difficulty, sentences)
    gamma = threshold.gamma
    if gamma is None:
        gamma = implied_gamma(difficulty, hard)
        if bool((difficulty[hard] < gamma).any()):
            gamma = None
    return Decided(candidate=candidate, gamma=gamma, hard=hard)


def _word(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
