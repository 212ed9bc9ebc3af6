"""What holds for every divergence."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import torch
from hypothesis import strategies as st
from torch import Tensor

from sekd_plugin.divergences import Divergence, divergences
from sekd_plugin.errors import ConfigError
from sekd_plugin.testing.differences import autograd_rows, expect_slope
from sekd_plugin.testing.laws import Law, expect, expect_close, uphold
from sekd_plugin.testing.strategies import (
    FEW_WORDS,
    MODERATE_KINDS,
    Draw,
    RowPair,
    row_pairs,
)
from sekd_plugin.testing.subjects import Subject, maker

Make = Callable[[], Divergence]
Definition = Callable[[Sequence[float], Sequence[float]], float]

_ROUNDING = {torch.float32: 1e-6, torch.float64: 1e-13}
_AGREEMENT = {torch.float32: 5e-5, torch.float64: 1e-9}
_TRIES_NEARBY = 8


def check_divergence(
    divergence: Subject[Divergence],
    definition: Definition | None = None,
    *,
    max_examples: int = 50,
    seed: int = 0,
    skip: Collection[str] = (),
) -> None:
    """Check that a divergence keeps every law of divergences.

    The laws, in the order in which they are checked:

    - ``one number a row``: ``[n, V]`` → ``[n]`` in the rows' dtype, also for n = 0 and V = 1, and
      the same number when asked again;
    - ``inputs are left unchanged``;
    - ``a number, and finite where it can be``: never NaN; finite where the student allows every
      word that the target does (with ``infinite_on_zero_target``: and the other way round);
    - ``infinite_on_zero_target is true``: what is declared infinite is infinite;
    - ``zero where the rows are equal``;
    - ``never negative``: D ≥ 0, to −1e-6 in fp32 and −1e-13 in float64, times the rows' scale;
    - ``above zero where they differ``;
    - ``the gradient is finite where the value is``, at logits of ±1e4 and −inf as well;
    - ``each row by itself``, ``words have no order``, ``impossible words change nothing``;
    - ``fp32 agrees with float64``, in value and gradient; where the gradient jumps (|ỹ − q| at
      zero), with a gradient of float64 within fp32 rounding of the logits;
    - ``the gradient is the slope of the value``: finite differences in float64;
    - ``a gradient to the target is true``: the criterion gives the target as a constant, so none
      need reach it; one that does is the slope of the value too;
    - ``the analytic gradient is autograd's``, only where ``value_and_gradient`` is written for this
      ``forward``: the value is that of ``forward``, and w − q·Σ w its gradient, finite wherever
      the value is; a word whose gradient jumps may take any that autograd gives within rounding;
    - ``the definition``, only where one is given.

    Without ``definition`` this finds whatever is no divergence or no gradient of its own value.
    It cannot know which divergence was meant: two swapped arguments (unless the flag
    ``infinite_on_zero_target`` gives them away), a small ε as in ``log(p + ε)``, or negative terms
    clamped one by one leave another true divergence, and need the definition.

    Args:
        divergence: a :class:`~sekd_plugin.Divergence`, a name, ``{name, config}``, or a class or
            function that makes one when called without arguments.
        definition: ``f(target_probs, student_probs) -> D`` over two lists of float
            probabilities, in plain Python. It handles probabilities of zero, and returns
            ``math.inf`` where D is infinite.
        max_examples: how many examples to try for each law.
        seed: the same seed tries the same examples.
        skip: names of laws not to check.

    Raises:
        LawBrokenError: an AssertionError that names the law, the smallest example and both numbers.
        ConfigError: the divergence cannot be made, or a name in ``skip`` is not a law's.
    """
    component, make = maker(divergence, divergences)
    laws = LAWS if definition is None else (*LAWS, _definition_law(definition))
    uphold(component, make, laws, max_examples=max_examples, seed=seed, skip=skip)


@dataclass(frozen=True)
class _Shuffled(RowPair):
    order: Tensor

    def moved(self) -> RowPair:
        return RowPair(
            self.target_logits[:, self.order], self.student_logits[:, self.order], self.dtype
        )


@dataclass(frozen=True)
class _Padded(RowPair):
    impossible_words: int

    def moved(self) -> RowPair:
        more = self.target_logits.new_full(
            (self.target_logits.shape[0], self.impossible_words), -math.inf
        )
        return RowPair(
            torch.cat([self.target_logits, more], dim=-1),
            torch.cat([self.student_logits, more], dim=-1),
            self.dtype,
        )


@st.composite
def _shuffled(draw: Draw) -> _Shuffled:
    pair = draw(row_pairs())
    order = st.permutations(range(min(pair.target_logits.shape[-1], 16)))
    first = torch.tensor(draw(order))
    rest = torch.arange(first.numel(), pair.target_logits.shape[-1])
    return _Shuffled(pair.target_logits, pair.student_logits, pair.dtype, torch.cat([first, rest]))


@st.composite
def _padded(draw: Draw) -> _Padded:
    pair = draw(row_pairs())
    return _Padded(
        pair.target_logits, pair.student_logits, pair.dtype, draw(st.sampled_from((1, 2, 7)))
    )


def _values(divergence: Divergence, pair: RowPair) -> Tensor:
    with torch.no_grad():
        return divergence(pair.log_target, pair.log_student)


def _finite_rows(divergence: Divergence, pair: RowPair) -> RowPair:
    return pair.rows(pair.comparable(divergence.infinite_on_zero_target))


def _agreement(pair: RowPair, values: Tensor) -> Tensor:
    known = values.double().abs().nan_to_num(posinf=0.0)
    return _AGREEMENT[pair.dtype] * (1.0 + known + pair.magnitude / 100)


def _rounding(pair: RowPair) -> float:
    return _ROUNDING[pair.dtype] * (1.0 + pair.magnitude / 10)


def _one_number_a_row(make: Make, pair: RowPair) -> None:
    divergence = make()
    value = _values(divergence, pair)
    expect(isinstance(value, Tensor), got=type(value).__name__, expected="Tensor")
    rows = tuple(pair.target_logits.shape[:1])
    expect(tuple(value.shape) == rows, got=f"the shape {tuple(value.shape)}", expected=rows)
    expect(value.dtype == pair.dtype, got=value.dtype, expected=pair.dtype)
    again = _values(divergence, pair)
    expect(torch.equal(value.nan_to_num(), again.nan_to_num()), got=again, expected=value)


def _unchanged(make: Make, pair: RowPair) -> None:
    log_target, log_student = pair.log_target, pair.log_student
    divergence = make()
    with torch.no_grad():
        divergence(log_target, log_student)
        if divergence.is_analytic:
            divergence.value_and_gradient(log_target, log_student)
    expect_close(log_target, pair.log_target, 0.0, "log_target afterwards")
    expect_close(log_student, pair.log_student, 0.0, "log_student afterwards")


def _finite(make: Make, pair: RowPair) -> None:
    divergence = make()
    values = _values(divergence, pair)
    expect(not bool(values.isnan().any()), got=values.tolist(), expected="a number, not NaN")
    values = values[pair.comparable(divergence.infinite_on_zero_target)]
    expect(bool(torch.isfinite(values).all()), got=values.tolist(), expected="finite numbers")


def _declared_infinite(make: Make, pair: RowPair) -> None:
    divergence = make()
    if not divergence.infinite_on_zero_target:
        return
    zero = torch.isneginf(pair.target_logits) & torch.isfinite(pair.student_logits)
    values = _values(divergence, pair)[zero.any(dim=-1)]
    expect(bool(torch.isposinf(values).all()), got=values.tolist(), expected="infinity")


def _never_negative(make: Make, pair: RowPair) -> None:
    values = _values(make(), pair)
    expect(
        bool((values >= -_rounding(pair)).all()),
        got=f"{float(values.min())!r}",
        expected=f"at least {-_rounding(pair):.0e}",
    )


def _zero_at_equality(make: Make, pair: RowPair) -> None:
    same = RowPair(pair.target_logits, pair.target_logits, pair.dtype)
    values = _values(make(), same)
    expect_close(values, torch.zeros_like(values), _rounding(pair), "D of a row and itself")


def _above_zero(make: Make, pair: RowPair) -> None:
    distance = 0.5 * (pair.log_target.exp() - pair.log_student.exp()).abs().sum(dim=-1)
    apart = pair.rows(distance > 0.1)
    values = _values(make(), apart)
    if values.numel():
        # The least that any usable divergence gives so far apart is well above rounding.
        least = float(values.min())
        expect(least > 1e-10, got=f"{least!r}", expected="above 0, for the rows differ")


def _each_row_by_itself(make: Make, pair: RowPair) -> None:
    divergence = make()
    together = _values(divergence, pair)
    alone = [
        _values(divergence, pair.rows(torch.tensor([row])))
        for row in range(pair.target_logits.shape[0])
    ]
    expect_close(
        together, torch.cat(alone), _agreement(pair, together), "a row's value beside others"
    )
    rows = _finite_rows(divergence, pair)
    if rows.target_logits.shape[0] < 2:
        return
    leaf = rows.student_logits.clone().requires_grad_()
    value = divergence(normalised_target(rows), torch.log_softmax(leaf, dim=-1))
    if value.requires_grad:
        (gradient,) = torch.autograd.grad(value[0], leaf)
        # NaN from 0 · inf is the fault of another law: it comes from the rows' own gradients.
        others = gradient[1:].nan_to_num(nan=0.0)
        expect_close(others, torch.zeros_like(others), 0.0, "row 0's gradient by other rows")


def normalised_target(pair: RowPair) -> Tensor:
    """The target's log-probabilities in float64."""
    return torch.log_softmax(pair.target_logits, dim=-1)


def _no_order(make: Make, pair: _Shuffled) -> None:
    divergence = make()
    value = _values(divergence, pair)
    moved = _values(divergence, pair.moved())
    expect_close(moved, value, _agreement(pair, value), "D with the words in another order")


def _impossible_words(make: Make, pair: _Padded) -> None:
    divergence = make()
    value = _values(divergence, pair)
    padded = pair.moved()
    expect_close(
        _values(divergence, padded), value, _agreement(pair, value), "D with impossible words added"
    )
    rows = _finite_rows(divergence, pair)
    more = _Padded(rows.target_logits, rows.student_logits, rows.dtype, pair.impossible_words)
    before, after = _student_gradient(divergence, rows), _student_gradient(divergence, more.moved())
    size = before.shape[-1]
    scale = 1.0 + before.abs().amax(dim=-1, keepdim=True).nan_to_num(posinf=0.0)
    scale = _AGREEMENT[pair.dtype] * (scale + pair.magnitude / 100)
    clean = torch.isfinite(before).all(dim=-1)
    expect_close(
        after[clean][:, :size], before[clean], scale[clean], "the gradient with words added"
    )


def _student_gradient(divergence: Divergence, pair: RowPair) -> Tensor:
    log_target = pair.log_target
    return autograd_rows(
        lambda logits: divergence(log_target, torch.log_softmax(logits, dim=-1)),
        pair.student_logits.to(pair.dtype),
    )


def _definition_law(definition: Definition) -> Law[Divergence]:
    def check(make: Make, pair: RowPair) -> None:
        target = pair.log_target.exp().tolist()
        student = pair.log_student.exp().tolist()
        try:
            wanted = [definition(p, q) for p, q in zip(target, student, strict=True)]
        except Exception as error:
            raise ConfigError(
                "definition",
                f"raised {type(error).__name__}: {error}, for target_probs = {target[0]} and "
                f"student_probs = {student[0]} (the first of {len(target)} rows)",
            ) from error
        expected = torch.tensor(wanted, dtype=torch.float64)
        values = _values(make(), pair)
        tolerance = 1e-9 * (1.0 + expected.abs().nan_to_num(posinf=0.0))
        expect_close(values, expected, tolerance, "D")

    examples = row_pairs(
        vocabulary=FEW_WORDS, kinds=MODERATE_KINDS, dtypes=(torch.float64,), near=True
    )
    return Law(name="the definition", examples=examples, check=check)


def _fp32_agrees(make: Make, pair: RowPair) -> None:
    divergence = make()
    log_target, log_student = pair.log_target, pair.log_student
    with torch.no_grad():
        single = divergence(log_target, log_student)
        double = divergence(log_target.double(), log_student.double())
    expect_close(single, double, _agreement(pair, double), "D in fp32")
    moderate = pair.magnitude <= 100.0
    rows = _finite_rows(divergence, pair)
    if not moderate or rows.target_logits.shape[0] == 0:
        return
    single = _student_gradient(divergence, rows)
    exact = RowPair(rows.target_logits, rows.student_logits, torch.float64)
    double = _student_gradient(divergence, exact)
    tolerance = 1.0 + double.abs().amax(dim=-1, keepdim=True).nan_to_num(posinf=0.0)
    tolerance = 2e-4 * tolerance
    if not bool(((single - double).abs() <= tolerance).all()):
        lowest, highest = _gradients_nearby(divergence, exact, torch.float32)
        double = single.double().clamp(min=lowest, max=highest)
    expect_close(single, double, tolerance, "the gradient in fp32")


def _gradients_nearby(
    divergence: Divergence, pair: RowPair, rounded: torch.dtype
) -> tuple[Tensor, Tensor]:
    """The least and the greatest gradient, word by word, where rounding may have led."""
    generator = torch.Generator().manual_seed(0)
    logits = pair.student_logits
    size = _ROUNDING[rounded] * (1.0 + pair.magnitude)
    gradients = [_student_gradient(divergence, pair)]
    for _ in range(_TRIES_NEARBY):
        step = size * (torch.randint(0, 2, logits.shape, generator=generator) * 2.0 - 1.0)
        for moved in (logits + step, logits - step):
            gradients.append(
                _student_gradient(divergence, RowPair(pair.target_logits, moved, pair.dtype))
            )
    stacked = torch.stack(gradients)
    return stacked.amin(dim=0), stacked.amax(dim=0)


def _slope(make: Make, pair: RowPair) -> None:
    divergence = make()
    rows = _finite_rows(divergence, pair)
    log_target = normalised_target(rows)

    def value(logits: Tensor) -> Tensor:
        return divergence(log_target, torch.log_softmax(logits, dim=-1))

    gradient = autograd_rows(value, rows.student_logits)
    expect_slope(value, rows.student_logits, gradient, "the gradient by the student's logits")


def _finite_gradient(make: Make, pair: RowPair) -> None:
    divergence = make()
    # Only where D is finite may its gradient be asked for.
    value = _values(divergence, pair)
    rows = pair.rows(torch.isfinite(value))
    gradient = _student_gradient(divergence, rows)
    if gradient.numel() and not bool(torch.isfinite(gradient).all()):
        row = int((~torch.isfinite(gradient)).any(dim=-1).nonzero()[0])
        finite = float(value[torch.isfinite(value)][row])
        expect(
            False,
            got=f"{gradient[row].tolist()}  (the gradient by the student's logits)",
            expected=f"finite numbers, as D is {finite!r}",
        )


def _target_gradient(make: Make, pair: RowPair) -> None:
    divergence = make()
    rows = _finite_rows(divergence, pair)
    log_student = torch.log_softmax(rows.student_logits, dim=-1)

    def value(logits: Tensor) -> Tensor:
        return divergence(torch.log_softmax(logits, dim=-1), log_student)

    gradient = autograd_rows(value, rows.target_logits)
    if bool((gradient != 0.0).any()):
        expect_slope(value, rows.target_logits, gradient, "the gradient by the target's logits")


def _analytic_gradient(make: Make, pair: RowPair) -> None:
    divergence = make()
    if not divergence.is_analytic:
        return
    log_target, log_student = pair.log_target, pair.log_student
    with torch.no_grad():
        value, slope = divergence.value_and_gradient(log_target, log_student)
    known = _values(divergence, pair)
    expect_close(value, known, _agreement(pair, known), "D beside its analytic gradient")
    expect(slope.shape == log_student.shape, got=tuple(slope.shape), expected=log_student.shape)
    expect(slope.dtype == pair.dtype, got=slope.dtype, expected=pair.dtype)
    finite = torch.isfinite(known)
    rows, slope = pair.rows(finite), slope[finite]
    gradient = slope - log_student[finite].exp() * slope.sum(dim=-1, keepdim=True)
    expected = _student_gradient(divergence, rows)
    tolerance = 1.0 + expected.abs().amax(dim=-1, keepdim=True) + rows.magnitude / 100
    tolerance = _AGREEMENT[pair.dtype] * tolerance
    if not bool(((gradient - expected).abs() <= tolerance).all()):
        lowest, highest = _gradients_nearby(divergence, rows, pair.dtype)
        expected = gradient.clamp(min=lowest, max=highest)
    expect_close(gradient, expected, tolerance, "the analytic gradient by the student's logits")


_DOUBLE = (torch.float64,)
_SMOOTH = ("ordinary", "near_one_hot", "uniform")
_SLOPE_EXAMPLES = row_pairs(
    vocabulary=FEW_WORDS,
    kinds=("ordinary", "near_one_hot", "one_hot", "zero_probability"),
    student_kinds=("ordinary", "zero_probability"),
    precisions=_DOUBLE,
    dtypes=_DOUBLE,
    near=False,
)

LAWS: tuple[Law[Divergence], ...] = (
    Law(
        name="one number a row",
        examples=row_pairs(rows=(1, 2, 0, 3), vocabulary=(2, 1, 3, 1, 4, 2000)),
        check=_one_number_a_row,
    ),
    Law(name="inputs are left unchanged", examples=row_pairs(), check=_unchanged),
    Law(
        name="a number, and finite where it can be",
        examples=row_pairs(kinds=("ordinary", "huge", "zero_probability", "one_hot")),
        check=_finite,
    ),
    Law(
        name="infinite_on_zero_target is true",
        examples=row_pairs(
            kinds=("one_hot", "zero_probability"),
            student_kinds=("uniform", "ordinary"),
            vocabulary=FEW_WORDS,
            near=False,
        ),
        check=_declared_infinite,
    ),
    Law(name="zero where the rows are equal", examples=row_pairs(), check=_zero_at_equality),
    Law(name="never negative", examples=row_pairs(), check=_never_negative),
    Law(
        name="above zero where they differ",
        examples=row_pairs(near=False, precisions=_DOUBLE, dtypes=_DOUBLE),
        check=_above_zero,
    ),
    Law(
        name="the gradient is finite where the value is",
        examples=row_pairs(),
        check=_finite_gradient,
    ),
    Law(name="each row by itself", examples=row_pairs(rows=(2, 3)), check=_each_row_by_itself),
    Law(name="words have no order", examples=_shuffled(), check=_no_order),
    Law(name="impossible words change nothing", examples=_padded(), check=_impossible_words),
    Law(
        name="fp32 agrees with float64",
        examples=row_pairs(precisions=(torch.float32,), dtypes=(torch.float32,)),
        check=_fp32_agrees,
    ),
    Law(
        name="the gradient is the slope of the value",
        examples=_SLOPE_EXAMPLES,
        check=_slope,
    ),
    Law(
        name="a gradient to the target is true",
        examples=row_pairs(
            vocabulary=FEW_WORDS,
            kinds=_SMOOTH,
            precisions=_DOUBLE,
            dtypes=_DOUBLE,
            near=False,
        ),
        check=_target_gradient,
    ),
    Law(
        name="the analytic gradient is autograd's",
        examples=row_pairs(rows=(1, 2, 0, 3)),
        check=_analytic_gradient,
    ),
)
