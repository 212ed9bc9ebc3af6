"""A threshold put to a recorded training run, step by step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy
import torch

from sekd_plugin import thresholds
from sekd_plugin.thresholds import implied_gamma

RECORDING = Path(__file__).parents[1] / "recordings" / "difficulties.npz"

RUNS = {
    "continued": "a student that translates",
    "from_scratch": "a student from random weights",
}
"""The recorded runs and what a picture calls them."""


@dataclass(frozen=True)
class Replay:
    """What a threshold did in a run, a number for each step."""

    gamma: list[float]
    """Γ, known or implied; NaN while every token is easy."""

    hard_ratio: list[float]
    """The share of hard tokens."""


def recorded(run: str) -> torch.Tensor:
    """The difficulties of a run: ``[steps, quantiles]``, each row sorted upwards."""
    with numpy.load(RECORDING, allow_pickle=False) as arrays:
        return torch.from_numpy(arrays[run].astype(numpy.float32))


def replay(threshold: str | Mapping[str, object], difficulties: torch.Tensor) -> Replay:
    """Γ and the hard ratio of a threshold that sees these steps.

    Args:
        threshold: as a recipe writes it.
        difficulties: ``[steps, n]``, each row sorted upwards.
    """
    strategy = thresholds.create(threshold, "threshold")
    gammas: list[float] = []
    ratios: list[float] = []
    for step in difficulties:
        hard = strategy.decide(step)
        known = strategy.gamma
        gamma = implied_gamma(step, hard) if known is None else known
        gammas.append(gamma if math.isfinite(gamma) else math.nan)
        ratios.append(float(hard.float().mean()))
        strategy.step(step)
    return Replay(gammas, ratios)
