"""Hypothesis strategies for the rows that break losses: logits, log-probabilities, difficulties.

All shrink towards few rows, few words and round numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from hypothesis import strategies as st
from torch import Tensor

from sekd_plugin.checks import one_of

Draw = st.DrawFn

FEW_WORDS = (2, 3, 4, 5, 6)
"""Vocabularies that are small, and more than one word."""

VOCABULARIES = (2, 3, 1, 4, 5, 6, 2, 3, 4, 7, 3, 2000)
"""Vocabulary sizes from one word to thousands, small ones more often."""

PRECISIONS = (torch.float32, torch.bfloat16, torch.float16)
"""The dtypes that models compute logits in."""

_DRAWN_ONE_BY_ONE = 16


def _ordinary(draw: Draw, size: int) -> list[float]:
    if size <= _DRAWN_ONE_BY_ONE:
        steps = st.lists(st.integers(-24, 24), min_size=size, max_size=size)
        return [step / 4 for step in draw(steps)]
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**16)))
    row: list[float] = (torch.randint(-24, 25, (size,), generator=generator) / 4).tolist()
    return row


def _uniform(draw: Draw, size: int) -> list[float]:
    return [draw(st.sampled_from((0.0, 1e4, -1e4)))] * size


def _near_one_hot(draw: Draw, size: int) -> list[float]:
    row = _ordinary(draw, size)
    row[draw(st.integers(0, size - 1))] += draw(st.sampled_from((16.0, 20.0, 25.0, 32.0)))
    return row


def _one_hot(draw: Draw, size: int) -> list[float]:
    row = [-math.inf] * size
    row[draw(st.integers(0, size - 1))] = 0.0
    return row


def _zero_probability(draw: Draw, size: int) -> list[float]:
    row = _ordinary(draw, size)
    kept = draw(st.integers(0, size - 1))
    banned = draw(st.sets(st.integers(0, size - 1), min_size=1, max_size=max(1, size // 2)))
    return [-math.inf if v in banned and v != kept else x for v, x in enumerate(row)]


def _huge(draw: Draw, size: int) -> list[float]:
    peaks = draw(st.lists(st.sampled_from((0.0, 1e4, -1e4)), min_size=1, max_size=size))
    return (peaks * size)[:size]


KINDS: dict[str, Callable[[Draw, int], list[float]]] = {
    "uniform": _uniform,
    "ordinary": _ordinary,
    "near_one_hot": _near_one_hot,
    "zero_probability": _zero_probability,
    "one_hot": _one_hot,
    "huge": _huge,
}
"""The kinds of rows: all words equal (also at ±1e4), logits between −6 and 6, one word far above
the rest, some words at −inf, all but one at −inf, logits of 0 and ±1e4."""

ALL_KINDS = tuple(KINDS)
MODERATE_KINDS = ("uniform", "ordinary", "near_one_hot", "zero_probability", "one_hot")
"""The kinds whose probabilities a Python float can hold, apart from exact zeros."""


@st.composite
def logit_row(
    draw: Draw,
    *,
    vocabulary: Sequence[int] = VOCABULARIES,
    kinds: Sequence[str] = ALL_KINDS,
    dtypes: Sequence[torch.dtype] = PRECISIONS,
) -> Tensor:
    """One row of logits.

    Args:
        draw: given by hypothesis.
        vocabulary: the sizes V to choose from, 1 or more each.
        kinds: names out of :data:`KINDS`.
        dtypes: the dtypes to choose from.

    Returns:
        A strategy of ``[V]``, at least one of them finite.
    """
    rows = draw(logit_rows(rows=(1,), vocabulary=vocabulary, kinds=kinds, dtypes=dtypes))
    return rows[0]


@st.composite
def logit_rows(
    draw: Draw,
    *,
    rows: Sequence[int] = (1, 2, 3),
    vocabulary: Sequence[int] = VOCABULARIES,
    kinds: Sequence[str] = ALL_KINDS,
    dtypes: Sequence[torch.dtype] = PRECISIONS,
) -> Tensor:
    """A batch of rows of logits, each of its own kind.

    Args:
        draw: given by hypothesis.
        rows: the numbers of rows n to choose from, 0 or more each.
        vocabulary: the sizes V to choose from, 1 or more each.
        kinds: names out of :data:`KINDS`.
        dtypes: the dtypes to choose from.

    Returns:
        A strategy of ``[n, V]``, at least one word of each row finite.

    Raises:
        ConfigError: a kind is not known.
    """
    for kind in kinds:
        one_of("kinds", kind, KINDS)
    size = draw(st.sampled_from(vocabulary))
    number = draw(st.sampled_from(rows))
    values = [KINDS[draw(st.sampled_from(kinds))](draw, size) for _ in range(number)]
    return (
        torch.tensor(values, dtype=torch.float64)
        .reshape(number, size)
        .to(draw(st.sampled_from(dtypes)))
    )


@st.composite
def log_probability_row(
    draw: Draw,
    *,
    vocabulary: Sequence[int] = VOCABULARIES,
    kinds: Sequence[str] = ALL_KINDS,
    logit_dtypes: Sequence[torch.dtype] = PRECISIONS,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """One row of log-probabilities ``[V]``: see :func:`log_probability_rows`."""
    logits = draw(logit_row(vocabulary=vocabulary, kinds=kinds, dtypes=logit_dtypes))
    return normalised(logits, dtype)


@st.composite
def log_probability_rows(
    draw: Draw,
    *,
    rows: Sequence[int] = (1, 2, 3),
    vocabulary: Sequence[int] = VOCABULARIES,
    kinds: Sequence[str] = ALL_KINDS,
    logit_dtypes: Sequence[torch.dtype] = PRECISIONS,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """A batch of rows of log-probabilities, from logits that a model gave in some precision.

    Args:
        draw: given by hypothesis.
        rows: the numbers of rows n to choose from.
        vocabulary: the sizes V to choose from.
        kinds: names out of :data:`KINDS`.
        logit_dtypes: the precisions of the logits, which are upcast before they are normalised.
        dtype: of the result; a half-precision one is normalised in fp32 and rounded after.

    Returns:
        A strategy of ``[n, V]``; ``-inf`` is a probability of zero.
    """
    logits = draw(logit_rows(rows=rows, vocabulary=vocabulary, kinds=kinds, dtypes=logit_dtypes))
    return normalised(logits, dtype)


def normalised(logits: Tensor, dtype: torch.dtype) -> Tensor:
    """Log softmax in fp32 or wider, then as ``dtype``."""
    wide = torch.promote_types(dtype, torch.float32)
    return torch.log_softmax(logits.to(wide), dim=-1).to(dtype)


@dataclass(frozen=True)
class RowPair:
    """Target and student logits of the same rows, and the dtype to normalise them in."""

    target_logits: Tensor
    student_logits: Tensor
    dtype: torch.dtype

    @property
    def log_target(self) -> Tensor:
        """``[n, V]``."""
        return normalised(self.target_logits, self.dtype)

    @property
    def log_student(self) -> Tensor:
        """``[n, V]``."""
        return normalised(self.student_logits, self.dtype)

    def comparable(self, both_ways: bool) -> Tensor:
        """Rows in which the student allows every word of the target, and, if asked, back again."""
        target, student = torch.isfinite(self.target_logits), torch.isfinite(self.student_logits)
        covered = (student | ~target).all(dim=-1)
        return covered & (target | ~student).all(dim=-1) if both_ways else covered

    def rows(self, chosen: Tensor) -> RowPair:
        """The pair of the chosen rows alone: a mask or an index over ``n``."""
        return RowPair(self.target_logits[chosen], self.student_logits[chosen], self.dtype)

    @property
    def magnitude(self) -> float:
        """The greatest finite logit, in size: what rounding is proportional to."""
        finite = torch.cat([self.target_logits, self.student_logits]).abs()
        finite = finite[torch.isfinite(finite)]
        return float(finite.max()) if finite.numel() else 0.0


@st.composite
def row_pairs(
    draw: Draw,
    *,
    rows: Sequence[int] = (1, 2, 3),
    vocabulary: Sequence[int] = VOCABULARIES,
    kinds: Sequence[str] = ALL_KINDS,
    student_kinds: Sequence[str] | None = None,
    precisions: Sequence[torch.dtype] = (torch.float64, *PRECISIONS),
    dtypes: Sequence[torch.dtype] = (torch.float64, torch.float32),
    near: bool = True,
) -> RowPair:
    """Two batches of rows to compare, far apart or (``near``) a little apart.

    Args:
        draw: given by hypothesis.
        rows: the numbers of rows n to choose from.
        vocabulary: the sizes V to choose from.
        kinds: of the target's rows, and of the student's unless ``student_kinds`` is given.
        student_kinds: of the student's rows.
        precisions: the logits are rounded to one of these.
        dtypes: the log-probabilities are formed in one of these.
        near: whether a student may be the target with its words moved a little.
    """
    target = draw(logit_rows(rows=rows, vocabulary=vocabulary, kinds=kinds, dtypes=precisions))
    number, size = target.shape
    if near and draw(st.booleans()):
        moved = draw(logit_rows(rows=(number,), vocabulary=(size,), kinds=("ordinary",)))
        step = draw(st.sampled_from((0.01, 0.0001, 0.1)))
        student = (target.double() + step * moved.double()).to(target.dtype)
    else:
        student = draw(
            logit_rows(
                rows=(number,),
                vocabulary=(size,),
                kinds=kinds if student_kinds is None else student_kinds,
                dtypes=(target.dtype,),
            )
        )
    return RowPair(target.double(), student.double(), draw(st.sampled_from(dtypes)))


def difficulties(
    *, min_size: int = 0, max_size: int = 8, infinite: bool = True
) -> st.SearchStrategy[Tensor]:
    """Difficulties of a batch of tokens: many ties, zeros, and infinity.

    Args:
        min_size: the least number of tokens.
        max_size: the greatest.
        infinite: whether infinity may be among them.

    Returns:
        A strategy of ``[n]``, fp32.
    """
    values = st.lists(_difficulty(infinite), min_size=min_size, max_size=max_size)
    return values.map(lambda numbers: torch.tensor(numbers, dtype=torch.float32))


def _difficulty(infinite: bool) -> st.SearchStrategy[float]:
    # Quarters, so that every sum is exact and order cannot hide in rounding.
    quarters = st.integers(0, 20).map(lambda step: step / 4)
    return st.one_of(quarters, st.just(math.inf)) if infinite else quarters
