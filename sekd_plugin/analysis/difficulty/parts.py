"""The tokens by part: which kinds of token are difficult."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from sekd_plugin.analysis.difficulty.columns import Column
from sekd_plugin.analysis.difficulty.token_table import TokenPlaces, TokenTable

_GROUPS = 5


@dataclass(frozen=True, kw_only=True)
class Group:
    """Tokens of one kind."""

    label: str
    """What they have in common."""

    tokens: int
    """How many."""

    median: float
    """Of their difficulties."""

    p90: float
    """What a tenth of them is above."""

    share_hard: float
    """The share of them that is above Γ."""

    hard: tuple[float, ...]
    """The share of them that is hard where Γ is that of each of the ratios."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """All tokens, cut into groups by one property."""

    name: str
    """A word for files and programs."""

    title: str
    """What they are cut by."""

    note: str
    """What to know of it."""

    groups: tuple[Group, ...]
    """Those that have a token."""


@dataclass(frozen=True, kw_only=True)
class _Property:
    name: str
    title: str
    note: str
    cut: Callable[[TokenTable, TokenPlaces], tuple[Tensor, list[str]]]


def by_part(
    column: Column,
    table: TokenTable,
    places: TokenPlaces,
    gamma: float,
    ratios: Sequence[float],
) -> list[Part]:
    """Difficulties by everything that is known of a token.

    Args:
        column: the difficulties.
        table: what was measured.
        places: where the tokens stand.
        gamma: Γ.
        ratios: shares of hard tokens.
    """
    hard = column.above(gamma)
    decided = [column.above(column.gamma(ratio)) for ratio in ratios]
    parts = []
    for kind in _PROPERTIES:
        numbers, labels = kind.cut(table, places)
        groups = []
        for number, label in enumerate(labels):
            inside = numbers == number
            count = int(inside.sum())
            if count == 0:
                continue
            group = Column(column.divergence, column.checkpoint, column.values[inside])
            groups.append(
                Group(
                    label=label,
                    tokens=count,
                    median=group.quantile(0.5),
                    p90=group.quantile(0.9),
                    share_hard=float(hard[inside].double().mean()),
                    hard=tuple(float(each[inside].double().mean()) for each in decided),
                )
            )
        parts.append(Part(name=kind.name, title=kind.title, note=kind.note, groups=tuple(groups)))
    return parts


def equal_groups(values: Tensor, unit: str) -> tuple[Tensor, list[str]]:
    """Cut by value into five groups of about as many tokens each; equal values stay together.

    Returns:
        ``[n]`` the number of each token's group, and the groups' labels, by rising values.
    """
    ordered = values.double().sort().values
    places = [len(ordered) * number // _GROUPS for number in range(1, _GROUPS)]
    edges = torch.unique(ordered[places])
    edges = edges[edges > ordered[0]]
    numbers = torch.bucketize(values.double(), edges, right=True)
    ends = [f"{edge:.2g}".replace("inf", "∞") for edge in edges.tolist()]
    labels = [f"below {ends[0]}{unit}"] if ends else ["all"]
    labels += [f"{low} to {high}{unit}" for low, high in pairwise(ends)]
    labels += [f"{ends[-1]}{unit} and more"] if ends else []
    return numbers, labels


def ranges(values: Tensor, starts: Sequence[int]) -> tuple[Tensor, list[str]]:
    """Cut whole numbers into ranges that begin at ``starts``; the last is open."""
    numbers = torch.bucketize(values, torch.tensor(starts[1:]), right=True)
    labels = [
        str(low) if high == low + 1 else f"{low:,}–{high - 1:,}" for low, high in pairwise(starts)
    ]
    return numbers, [*labels, f"{starts[-1]:,} and more"]


def _entropy(table: TokenTable, places: TokenPlaces) -> tuple[Tensor, list[str]]:
    return equal_groups(table.entropy, " nats")


def _teacher_gap(table: TokenTable, places: TokenPlaces) -> tuple[Tensor, list[str]]:
    return equal_groups(-table.teacher.log_gold, " nats")


def _student_gap(table: TokenTable, places: TokenPlaces) -> tuple[Tensor, list[str]]:
    return equal_groups(-table.student.log_gold, " nats")


def _frequency(table: TokenTable, places: TokenPlaces) -> tuple[Tensor, list[str]]:
    counts = torch.bincount(places.targets)
    return ranges(counts[places.targets], (1, 2, 5, 20, 100, 1000))


def _position(table: TokenTable, places: TokenPlaces) -> tuple[Tensor, list[str]]:
    return ranges(places.positions + 1, (1, 2, 5, 10, 20, 40))


def _word_start(table: TokenTable, places: TokenPlaces) -> tuple[Tensor, list[str]]:
    numbers = torch.where(places.is_end, 2, torch.where(places.starts_word, 0, 1))
    return numbers, ["starts a word", "goes on in a word", "end of the sentence"]


def _length(table: TokenTable, places: TokenPlaces) -> tuple[Tensor, list[str]]:
    return ranges(places.lengths, (1, 5, 10, 20, 40, 80))


_PROPERTIES = (
    _Property(
        name="entropy",
        title="Entropy of the teacher",
        note="H(p): how undecided the teacher is. Groups of about as many tokens each.",
        cut=_entropy,
    ),
    _Property(
        name="teacher_gap",
        title="Teacher's gap to gold",
        note="−log p(gold): how little the teacher believes in the gold word.",
        cut=_teacher_gap,
    ),
    _Property(
        name="student_gap",
        title="Student's gap to gold",
        note="−log q(gold): how little the student believes in the gold word.",
        cut=_student_gap,
    ),
    _Property(
        name="frequency",
        title="Token frequency",
        note="How often the gold piece occurs among these target tokens.",
        cut=_frequency,
    ),
    _Property(
        name="position",
        title="Position in the sentence",
        note="Counted in tokens from 1.",
        cut=_position,
    ),
    _Property(
        name="word_start",
        title="Place in the word",
        note="Whether the gold piece starts a word.",
        cut=_word_start,
    ),
    _Property(
        name="length",
        title="Sentence length",
        note="Target tokens of the sentence, its end included.",
        cut=_length,
    ),
)
