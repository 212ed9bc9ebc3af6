"""A criterion that is told each token's difficulty, to watch a threshold at work in a real one."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from sekd_plugin.base_criterion import Criterion
from sekd_plugin.testing.strategies import Draw
from sekd_plugin.thresholds import Threshold

MicroBatch = tuple[float, ...]
Step = tuple[MicroBatch, ...]

_QUARTERS = (0.0, 1.0, 2.0, 0.5, 3.0, 0.25, 1.25, 0.75, 4.5, 1.75, 5.0)
"""Difficulties in quarters, so that every sum is exact and order cannot hide in rounding."""


@dataclass(frozen=True)
class Stream:
    """The difficulties of some optimizer steps, each in its micro-batches."""

    steps: tuple[Step, ...]

    probe: MicroBatch
    """A batch to decide on afterwards."""


@dataclass(frozen=True)
class Verdict:
    """What a threshold said in one step."""

    hard: tuple[tuple[bool, ...], ...]
    """For each micro-batch, which tokens are hard."""

    gamma: float | None
    """Γ after the step."""


@st.composite
def streams(draw: Draw, *, min_steps: int = 1, infinite: bool = True) -> Stream:
    """Streams of one to three steps of one to three micro-batches, ties and empty ones included."""
    number = st.sampled_from((*_QUARTERS, math.inf) if infinite else _QUARTERS)
    micro_batch = st.lists(number, min_size=0, max_size=4).map(tuple)
    step = st.lists(micro_batch, min_size=1, max_size=3).map(tuple)
    steps = draw(st.lists(step, min_size=min_steps, max_size=3))
    probe = draw(st.lists(number, min_size=1, max_size=5))
    return Stream(tuple(steps), tuple(probe))


def tensor(values: Sequence[float]) -> Tensor:
    """Difficulties as a criterion gives them: ``[n]``, fp32."""
    return torch.tensor(values, dtype=torch.float32)


class GivenDifficulty(Criterion):
    """A criterion whose logits ``[n, 1]`` are the difficulties themselves."""

    needs_teacher = False

    def __init__(self, threshold: Threshold) -> None:
        super().__init__()
        self.threshold = threshold
        self.gather_over_ranks = False
        self.kernel = "reference"

    def distributions(
        self, student_logits: Tensor, teacher_logits: Tensor | None, targets: Tensor
    ) -> tuple[Tensor, Tensor]:
        """No target; the student's rows as they are."""
        return student_logits, student_logits

    def self_question(self, log_target: Tensor, log_student: Tensor) -> Tensor:
        """What the row holds."""
        return log_student[:, 0]

    def self_evolution(self, log_target: Tensor, log_student: Tensor, hard: Tensor) -> Tensor:
        """Nothing is learnt."""
        return torch.zeros_like(log_student[:, 0])

    def decide(self, values: Sequence[float]) -> tuple[bool, ...]:
        """One forward pass over a micro-batch: which of its tokens are hard."""
        difficulty = tensor(values)
        targets = torch.zeros(difficulty.shape, dtype=torch.int64)
        output = self(difficulty.unsqueeze(-1), None, targets)
        return tuple(bool(hard) for hard in output.hard)

    def run(self, step: Step) -> Verdict:
        """A whole optimizer step."""
        hard = tuple(self.decide(micro_batch) for micro_batch in step)
        self.step()
        return Verdict(hard, self.threshold.gamma)

    def share_observations(self, ranks: Sequence[GivenDifficulty]) -> None:
        """Take what every rank observed in this step, as gathering over them does."""
        self._observed = [seen for rank in ranks for seen in rank.observations()]

    def observations(self) -> list[Tensor]:
        """The difficulties seen since the last step."""
        return list(self._observed)


def through_a_file(state: dict[str, Any]) -> dict[str, Any]:
    """A state dict saved and loaded again, with nothing but plain values and tensors allowed."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    loaded: dict[str, Any] = torch.load(file, weights_only=True)
    return loaded
