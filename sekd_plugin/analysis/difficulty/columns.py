"""One measure of difficulty over all tokens: quantiles, histogram, Γ for shares of hard tokens."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from sekd_plugin.analysis.difficulty.token_table import TokenTable
from sekd_plugin.thresholds import implied_gamma
from sekd_plugin.thresholds.dynamic import sorted_quantile
from sekd_plugin.thresholds.top_k import hardest, share_of

RATIOS = (0.05, 0.1, 0.2, 0.3, 0.5)
"""The shares of hard tokens that Γ is given for."""

QUANTILES = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0)

UNBELIEVED = 0.01
"""A gold word that the student gives less than this is one that a hard token hardly teaches."""

_BINS = 40
_DIGITS = 4
_DIGITS_OF_A_FLOAT = 18
_ROUNDING = 0.02
"""By so much of itself the share of hard tokens may change where Γ is rounded."""


@dataclass(frozen=True)
class Column:
    """The difficulties of all tokens by one divergence, at one checkpoint."""

    divergence: str
    """Its name."""

    checkpoint: int
    """The number of the checkpoint."""

    values: Tensor
    """``[n]`` fp32; n is 1 or more."""

    @cached_property
    def ordered(self) -> Tensor:
        """The values sorted upwards, in float64."""
        return self.values.double().sort().values

    def quantile(self, share: float) -> float:
        """The value that ``share`` of the tokens are at or below, linear between the two nearest.

        Infinity where one of the two is infinite.
        """
        value = sorted_quantile(self.ordered, share)
        return math.inf if math.isnan(value) else value

    @property
    def mean(self) -> float:
        """Of the finite values; infinity where there are none."""
        finite = self.ordered[torch.isfinite(self.ordered)]
        return float(finite.mean()) if finite.numel() else math.inf

    def hardest(self, ratio: float) -> Tensor:
        """Exactly the ``ratio`` hardest tokens, ``[n]`` bool; ties go to the earlier token."""
        return hardest(self.values, share_of(self.values.numel(), ratio))

    def gamma(self, ratio: float) -> float:
        """The Γ that makes ``ratio`` of the tokens hard, in as few digits as people write.

        A bounded divergence may need more of them: just below its bound many tokens lie close.
        """
        exact = implied_gamma(self.values, self.hardest(ratio))
        if not math.isfinite(exact) or exact <= 0.0:
            return exact
        wanted, magnitude = self.share_above(exact), math.floor(math.log10(exact))
        for digits in range(_DIGITS, _DIGITS_OF_A_FLOAT):
            rounded = round(exact, digits - 1 - magnitude)
            if abs(self.share_above(rounded) - wanted) <= _ROUNDING * ratio:
                return rounded
        return exact

    def above(self, gamma: float) -> Tensor:
        """Which tokens are hard for Γ, ``[n]`` bool: d > Γ, strictly."""
        return self.values > gamma

    def share_above(self, gamma: float) -> float:
        """The share of the tokens that are hard for Γ."""
        return float(self.above(gamma).double().mean())


def histogram_edges(columns: list[Column]) -> list[float]:
    """Lower edges of bins of equal width that suit all of the columns; the last bin is open.

    It starts at what one token in two hundred is above, at a round number.
    """
    ends = [column.quantile(0.995) for column in columns]
    finite = [end for end in ends if math.isfinite(end) and end > 0.0]
    end = max(finite, default=1.0)
    power = 10.0 ** math.floor(math.log10(end / _BINS))
    width = next(power * f for f in (1.0, 2.0, 2.5, 5.0, 10.0) if end <= power * f * _BINS * 1.0001)
    count = math.ceil(end / width - 1e-9)
    return [round(number * width, 10) for number in range(count + 1)]


def histogram_counts(column: Column, edges: list[float]) -> list[int]:
    """How many tokens are in each bin; what rounding left below zero is in the first."""
    inner = torch.tensor(edges[1:], dtype=torch.float64)
    bins = torch.bucketize(column.ordered, inner, right=True)
    counts: list[int] = torch.bincount(bins, minlength=len(edges)).tolist()
    return counts


@dataclass(frozen=True, kw_only=True)
class HardSet:
    """What becomes hard at one Γ."""

    ratio: float
    """The share that was wanted."""

    gamma: float
    """Γ; infinity where the share cannot be had."""

    share: float
    """The share of tokens that are hard for this Γ: less than wanted where many are equal."""

    student_gold: float | None
    """The median of the student's probability of the gold word, over hard tokens."""

    unbelieved: float | None
    """The share of hard tokens whose gold word the student gives less than 1 %."""

    teacher_agrees: float | None
    """The share of hard tokens whose gold word is the teacher's first choice."""


def hard_set(column: Column, table: TokenTable, targets: Tensor, ratio: float) -> HardSet:
    """Γ for a share of hard tokens, and what these tokens are like."""
    gamma = column.gamma(ratio)
    hard = column.above(gamma)
    gold = table.student.log_gold[hard].exp()
    any_hard = gold.numel() > 0
    agrees = table.teacher.words[hard, 0] == targets[hard]
    return HardSet(
        ratio=ratio,
        gamma=gamma,
        share=column.share_above(gamma),
        student_gold=sorted_quantile(gold.sort().values, 0.5) if any_hard else None,
        unbelieved=float((gold < UNBELIEVED).double().mean()) if any_hard else None,
        teacher_agrees=float(agrees.double().mean()) if any_hard else None,
    )
