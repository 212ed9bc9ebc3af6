"""What holds for every proxy."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass

import torch
from hypothesis import strategies as st
from torch import Tensor

from sekd_plugin.divergences import ForwardKL
from sekd_plugin.errors import ConfigError
from sekd_plugin.proxies import Proxy, proxies
from sekd_plugin.testing.differences import autograd_rows, expect_slope
from sekd_plugin.testing.laws import Law, expect, expect_close, uphold
from sekd_plugin.testing.strategies import FEW_WORDS, Draw, RowPair, row_pairs
from sekd_plugin.testing.subjects import Subject, maker

Make = Callable[[], Proxy]

_TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-10}
_BETAS = (0.5, 0.25, 0.9, 0.1, 0.0, 1.0)


def check_proxy(
    proxy: Subject[Proxy],
    *,
    max_examples: int = 50,
    seed: int = 0,
    skip: Collection[str] = (),
) -> None:
    """Check that a proxy keeps every law of proxies, at every β that it accepts.

    A proxy either blends the student into what is learnt through, D(ỹ ‖ q̂), or into what is
    learnt, D(q̂ ‖ q); which one is seen from whether the first of its pair is the target. The
    laws are checked with forward KL as D, in this order:

    - ``a pair of log-distributions``: two ``[n, V]`` in the rows' dtype, each row summing to one,
      also for n = 0 and V = 1; the scale a positive number;
    - ``inputs are left unchanged``;
    - ``each row by itself``;
    - ``finite``: value and gradient, wherever the student allows every word of the target;
    - ``words have no order``, ``impossible words stay impossible``;
    - ``fp32 agrees with float64``;
    - ``no gradient through the target``: the first of the pair is a constant;
    - ``the gradient is the slope through the student``: finite differences in float64;
    - ``the analytic gradient is autograd's``, only where ``pull_back`` is written for this
      ``forward``: for any gradient by the second of the pair;
    - ``nothing to learn at equality``: q = ỹ costs nothing;
    - ``one end of β is an easy token`` and ``the other end teaches nothing``, in value and
      gradient: β = 1 and β = 0 where the student's side is blended, β = 0 and β = 1 where the
      target's is.

    Args:
        proxy: a :class:`~sekd_plugin.Proxy`, a name, ``{name, config}``, or a class or function
            that makes one when called without arguments.
        max_examples: how many examples to try for each law.
        seed: the same seed tries the same examples.
        skip: names of laws not to check.

    Raises:
        LawBrokenError: an AssertionError that names the law, the smallest example and both numbers.
        ConfigError: the proxy cannot be made, or a name in ``skip`` is not a law's.
    """
    component, make = maker(proxy, proxies)
    uphold(component, make, LAWS, max_examples=max_examples, seed=seed, skip=skip)


@dataclass(frozen=True)
class _Blend(RowPair):
    """Rows of which the student allows every word of the target, and β."""

    beta: float

    def at(self, pair: RowPair, beta: float | None = None) -> _Blend:
        beta = self.beta if beta is None else beta
        return _Blend(pair.target_logits, pair.student_logits, pair.dtype, beta)


@dataclass(frozen=True)
class _Shuffled(_Blend):
    order: Tensor


@st.composite
def _blends(draw: Draw, pairs: st.SearchStrategy[RowPair]) -> _Blend:
    pair = draw(pairs)
    pair = pair.rows(pair.comparable(both_ways=False))
    beta = draw(st.sampled_from(_BETAS))
    return _Blend(pair.target_logits, pair.student_logits, pair.dtype, beta)


@st.composite
def _shuffled(draw: Draw) -> _Shuffled:
    blend = draw(_blends(row_pairs(vocabulary=(2, 3, 4, 5))))
    order = torch.tensor(draw(st.permutations(range(blend.target_logits.shape[-1]))))
    return _Shuffled(blend.target_logits, blend.student_logits, blend.dtype, blend.beta, order)


def _accepts(proxy: Proxy, beta: float) -> bool:
    try:
        proxy.check_beta(beta)
    except ConfigError:
        return False
    return True


def _pair(proxy: Proxy, blend: _Blend) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        return proxy(blend.log_target, blend.log_student, blend.beta)


def _tolerance(pair: RowPair) -> float:
    return _TOLERANCE[pair.dtype] * (1.0 + pair.magnitude / 10)


def _loss(proxy: Proxy, blend: _Blend) -> Callable[[Tensor], Tensor]:
    """Each hard row's loss as a function of the student's logits."""
    log_target = blend.log_target

    def loss(logits: Tensor) -> Tensor:
        pair = proxy(log_target, torch.log_softmax(logits, dim=-1), blend.beta)
        return ForwardKL()(*pair) * proxy.scale(blend.beta)

    return loss


def _easy(blend: _Blend) -> Callable[[Tensor], Tensor]:
    log_target = blend.log_target
    return lambda logits: ForwardKL()(log_target, torch.log_softmax(logits, dim=-1))


def _blends_the_target(proxy: Proxy) -> bool:
    target = torch.tensor([[0.7, 0.2, 0.1]], dtype=torch.float64).log()
    student = torch.tensor([[0.2, 0.3, 0.5]], dtype=torch.float64).log()
    first, _ = proxy(target, student, 0.5)
    return not torch.allclose(first, target)


def _expect_same_rows(got: Tensor, expected: Tensor, tolerance: float, what: str) -> None:
    """Compare log-probabilities by what they say: as probabilities, and by their order of size."""
    expect_close(got.exp(), expected.exp(), tolerance, f"probability in {what}")
    expect_close(got, expected, tolerance * (1.0 + expected.abs().nan_to_num(posinf=0.0)), what)


_SIDES = ("the first of the pair", "the second of the pair")


def _log_distributions(make: Make, blend: _Blend) -> None:
    proxy = make()
    if not _accepts(proxy, blend.beta):
        return
    pair: object = _pair(proxy, blend)
    expect(
        isinstance(pair, tuple) and len(pair) == 2 and all(isinstance(x, Tensor) for x in pair),
        got=type(pair).__name__,
        expected="a tuple of two tensors",
    )
    shape = tuple(blend.target_logits.shape)
    for what, rows in zip(_SIDES, _pair(proxy, blend), strict=True):
        expect(tuple(rows.shape) == shape, got=f"{what}: {tuple(rows.shape)}", expected=shape)
        expect(rows.dtype == blend.dtype, got=f"{what}: {rows.dtype}", expected=blend.dtype)
        total = rows.exp().sum(dim=-1)
        expect_close(total, torch.ones_like(total), _tolerance(blend), f"sum of {what}")
    scale = proxy.scale(blend.beta)
    expect(
        isinstance(scale, float | int) and 0.0 < scale < math.inf,
        got=f"the scale {scale!r}",
        expected="a number above 0",
    )


def _unchanged(make: Make, blend: _Blend) -> None:
    proxy = make()
    if not _accepts(proxy, blend.beta):
        return
    log_target, log_student = blend.log_target, blend.log_student
    with torch.no_grad():
        _, second = proxy(log_target, log_student, blend.beta)
        if proxy.is_analytic:
            log_second, slope = second.clone(), torch.zeros_like(second)
            proxy.pull_back(log_target, log_student, second, blend.beta, slope)
            expect_close(second, log_second, 0.0, "log_second afterwards")
    expect_close(log_target, blend.log_target, 0.0, "log_target afterwards")
    expect_close(log_student, blend.log_student, 0.0, "log_student afterwards")


def _each_row_by_itself(make: Make, blend: _Blend) -> None:
    proxy = make()
    if not _accepts(proxy, blend.beta):
        return
    for side, (what, together) in enumerate(zip(_SIDES, _pair(proxy, blend), strict=True)):
        for row in range(together.shape[0]):
            alone = _pair(proxy, blend.at(blend.rows(torch.tensor([row]))))[side]
            _expect_same_rows(together[row : row + 1], alone, _tolerance(blend), what)


def _no_order(make: Make, blend: _Shuffled) -> None:
    proxy = make()
    if not _accepts(proxy, blend.beta):
        return
    moved = blend.at(
        RowPair(
            blend.target_logits[:, blend.order], blend.student_logits[:, blend.order], blend.dtype
        )
    )
    for what, rows, other in zip(_SIDES, _pair(proxy, blend), _pair(proxy, moved), strict=True):
        _expect_same_rows(other, rows[:, blend.order], _tolerance(blend), what)


def _impossible_words(make: Make, blend: _Blend) -> None:
    proxy = make()
    if not _accepts(proxy, blend.beta):
        return
    more = blend.target_logits.new_full((blend.target_logits.shape[0], 2), -math.inf)
    padded = blend.at(
        RowPair(
            torch.cat([blend.target_logits, more], dim=-1),
            torch.cat([blend.student_logits, more], dim=-1),
            blend.dtype,
        )
    )
    for what, rows, other in zip(_SIDES, _pair(proxy, blend), _pair(proxy, padded), strict=True):
        expected = torch.cat([rows, more.to(rows.dtype)], dim=-1)
        _expect_same_rows(other, expected, _tolerance(blend), what)


def _fp32_agrees(make: Make, blend: _Blend) -> None:
    proxy = make()
    if not _accepts(proxy, blend.beta):
        return
    with torch.no_grad():
        log_target, log_student = blend.log_target, blend.log_student
        single = proxy(log_target, log_student, blend.beta)
        double = proxy(log_target.double(), log_student.double(), blend.beta)
    for what, got, expected in zip(_SIDES, single, double, strict=True):
        _expect_same_rows(got, expected, _tolerance(blend), what)


def _constant_target(make: Make, blend: _Blend) -> None:
    proxy = make()
    if not _accepts(proxy, blend.beta):
        return

    def first(logits: Tensor) -> Tensor:
        pair = proxy(blend.log_target, torch.log_softmax(logits, dim=-1), blend.beta)
        weights = torch.arange(1.0, logits.shape[-1] + 1.0, dtype=logits.dtype)
        return (pair[0].exp() * weights).sum(dim=-1)

    gradient = autograd_rows(first, blend.student_logits.to(blend.dtype))
    expect_close(
        gradient, torch.zeros_like(gradient), 0.0, "a gradient through the first of the pair"
    )


def _slope(make: Make, blend: _Blend) -> None:
    proxy = make()
    if not _accepts(proxy, blend.beta):
        return
    log_target, logits = blend.log_target, blend.student_logits
    with torch.no_grad():
        first, _ = proxy(log_target, torch.log_softmax(logits, dim=-1), blend.beta)

    def through_the_student(moved: Tensor) -> Tensor:
        _, second = proxy(log_target, torch.log_softmax(moved, dim=-1), blend.beta)
        return ForwardKL()(first, second) * proxy.scale(blend.beta)

    gradient = autograd_rows(_loss(proxy, blend), logits)
    expect_slope(through_the_student, logits, gradient, "the loss's gradient")


def _analytic_gradient(make: Make, blend: _Blend) -> None:
    proxy = make()
    if not _accepts(proxy, blend.beta) or not proxy.is_analytic:
        return
    log_target, log_student = blend.log_target, blend.log_student
    first, second = _pair(proxy, blend)
    # No divergence in particular: its gradient has both signs, and none where there is no word.
    signs = torch.linspace(1.0, 3.0, second.shape[-1], dtype=second.dtype).mul(9.0).sin()
    slope = (signs * second.exp() - first.exp()).masked_fill(torch.isneginf(second), 0.0)

    def through_the_student(logits: Tensor) -> Tensor:
        _, moved = proxy(log_target, torch.log_softmax(logits, dim=-1), blend.beta)
        return (slope * moved.masked_fill(torch.isneginf(second), 0.0)).sum(dim=-1)

    with torch.no_grad():
        pulled = proxy.pull_back(log_target, log_student, second, blend.beta, slope.clone())
    expect(pulled.shape == second.shape, got=tuple(pulled.shape), expected=tuple(second.shape))
    gradient = pulled - log_student.exp() * pulled.sum(dim=-1, keepdim=True)
    expected = autograd_rows(through_the_student, blend.student_logits.to(blend.dtype))
    expect_close(gradient, expected, _tolerance(blend), "the gradient through the student")


def _nothing_at_equality(make: Make, blend: _Blend) -> None:
    proxy = make()
    if not _accepts(proxy, blend.beta):
        return
    same = blend.at(RowPair(blend.target_logits, blend.target_logits, blend.dtype))
    logits = same.student_logits.to(same.dtype)
    value = _loss(proxy, same)(logits)
    tolerance = _tolerance(blend)
    expect_close(value, torch.zeros_like(value), tolerance, "the loss at q = ỹ")
    gradient = autograd_rows(_loss(proxy, same), logits)
    expect_close(gradient, torch.zeros_like(gradient), tolerance, "its gradient at q = ỹ")


def _easy_end(make: Make, blend: _Blend) -> None:
    proxy = make()
    beta = 0.0 if _blends_the_target(proxy) else 1.0
    if not _accepts(proxy, beta):
        return
    end = blend.at(blend, beta)
    logits = end.student_logits.to(end.dtype)
    tolerance = _tolerance(end)
    for of, measure in (("the loss", _value), ("the gradient", autograd_rows)):
        expected = measure(_easy(end), logits)
        scale = tolerance * (1.0 + expected.abs())
        got = measure(_loss(proxy, end), logits)
        expect_close(got, expected, scale, f"{of} at β = {beta:g}, and an easy token's")


def _empty_end(make: Make, blend: _Blend) -> None:
    proxy = make()
    beta = 1.0 if _blends_the_target(proxy) else 0.0
    if not _accepts(proxy, beta):
        return
    end = blend.at(blend, beta)
    logits = end.student_logits.to(end.dtype)
    for of, measure in (("the loss", _value), ("the gradient", autograd_rows)):
        got = measure(_loss(proxy, end), logits)
        expect_close(got, torch.zeros_like(got), _tolerance(end), f"{of} at β = {beta:g}")


def _value(function: Callable[[Tensor], Tensor], logits: Tensor) -> Tensor:
    with torch.no_grad():
        return function(logits)


def _finite(make: Make, blend: _Blend) -> None:
    proxy = make()
    if not _accepts(proxy, blend.beta):
        return
    logits = blend.student_logits.to(blend.dtype)
    for of, measure in (("the loss", _value), ("the gradient", autograd_rows)):
        got = measure(_loss(proxy, blend), logits)
        expect(
            bool(torch.isfinite(got).all()),
            got=f"{of} {got.tolist()}",
            expected="finite numbers",
        )


_DOUBLE = (torch.float64,)
_ANY = _blends(row_pairs())
_MEASURABLE = _blends(
    row_pairs(
        vocabulary=FEW_WORDS,
        kinds=("ordinary", "one_hot", "zero_probability"),
        student_kinds=("ordinary",),
        precisions=_DOUBLE,
        dtypes=_DOUBLE,
        near=False,
    )
)

LAWS: tuple[Law[Proxy], ...] = (
    Law(
        name="a pair of log-distributions",
        examples=_blends(row_pairs(rows=(1, 2, 0, 3))),
        check=_log_distributions,
    ),
    Law(name="inputs are left unchanged", examples=_ANY, check=_unchanged),
    Law(
        name="each row by itself",
        examples=_blends(row_pairs(rows=(2, 3))),
        check=_each_row_by_itself,
    ),
    Law(name="finite", examples=_ANY, check=_finite),
    Law(name="words have no order", examples=_shuffled(), check=_no_order),
    Law(name="impossible words stay impossible", examples=_ANY, check=_impossible_words),
    Law(
        name="fp32 agrees with float64",
        examples=_blends(row_pairs(precisions=(torch.float32,), dtypes=(torch.float32,))),
        check=_fp32_agrees,
    ),
    Law(name="no gradient through the target", examples=_ANY, check=_constant_target),
    Law(
        name="the gradient is the slope through the student",
        examples=_MEASURABLE,
        check=_slope,
    ),
    Law(
        name="the analytic gradient is autograd's",
        examples=_blends(row_pairs(rows=(1, 2, 0, 3))),
        check=_analytic_gradient,
    ),
    Law(name="nothing to learn at equality", examples=_ANY, check=_nothing_at_equality),
    Law(name="one end of β is an easy token", examples=_MEASURABLE, check=_easy_end),
    Law(name="the other end teaches nothing", examples=_ANY, check=_empty_end),
)
