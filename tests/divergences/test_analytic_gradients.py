"""Gradients that divergences give in closed form, against autograd through their definitions."""

import math

import pytest
import torch
from divergence_definitions import DEFINITIONS, title_of
from method_definition import finite_difference

from sekd_plugin import Divergence, divergences
from sekd_plugin.divergences import (
    AdaptiveKL,
    Alpha,
    ForwardKL,
    Renyi,
    ReverseKL,
    SkewForwardKL,
    SkewReverseKL,
    SymmetricKL,
)

INF = math.inf
every = pytest.mark.parametrize(
    ("section", "definition"), DEFINITIONS, ids=[title_of(section) for section, _ in DEFINITIONS]
)
ADVERSARIAL = torch.tensor(
    [
        [0.0, -INF, -INF, -INF],
        [-INF, 0.0, 1.0, -INF],
        [1.0, -INF, 0.5, -2.0],
        [0.0, 0.3, -0.2, 0.1],
        [0.0, 90.0, 0.0, -90.0],
        [1e4, -1e4, 0.0, 3.0],
        [-1e4, 1e4, 1e4, -1e4],
        [0.0, 0.0, 0.0, 0.0],
    ],
    dtype=torch.float64,
)


def create(section):
    return divergences.create(section, "divergence")


def rows(count=12, words=7, spread=2.0, seed=0):
    torch.manual_seed(seed)
    target, student = (torch.randn(count, words, dtype=torch.float64) * spread for _ in range(2))
    return target.log_softmax(-1), student


def analytic(divergence, log_target, logits):
    """Value and gradient by the logits."""
    log_student = logits.log_softmax(-1)
    with torch.no_grad():
        value, slope = divergence.value_and_gradient(log_target, log_student)
    return value, slope - log_student.exp() * slope.sum(-1, keepdim=True)


def defined(definition, log_target, logits):
    pairs = zip(log_target.exp(), logits.softmax(-1), strict=True)
    return torch.stack([definition(target, student) for target, student in pairs])


def defined_with_gradient(definition, log_target, logits):
    leaf = logits.clone().requires_grad_()
    value = defined(definition, log_target, leaf)
    if not value.requires_grad:  # no word in common, and no more to it
        return value, torch.zeros_like(leaf)
    (gradient,) = torch.autograd.grad(value.sum(), leaf)
    return value.detach(), gradient


@every
@pytest.mark.parametrize("words", [1, 2, 7, 60])
@pytest.mark.parametrize("spread", [0.01, 2.0, 6.0])
def test_value_and_gradient_are_those_of_the_definition(section, definition, words, spread):
    log_target, logits = rows(words=words, spread=spread)
    value, gradient = analytic(create(section), log_target, logits)
    expected, slope = defined_with_gradient(definition, log_target, logits)
    torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(gradient, slope, rtol=1e-8, atol=1e-11)


@every
def test_the_gradient_is_the_slope_of_the_definition(section, definition):
    if title_of(section).startswith("adaptive_kl"):
        pytest.skip("its shares are constants to the gradient")
    log_target, logits = rows(count=3, words=5, seed=3)
    _, gradient = analytic(create(section), log_target, logits)
    slope = finite_difference(lambda z: defined(definition, log_target, z).sum(), logits.clone())
    torch.testing.assert_close(gradient, slope, rtol=1e-5, atol=1e-7)


@every
def test_the_value_is_to_the_last_bit_that_of_the_divergence_alone(section, definition):
    log_target, logits = rows(words=500, spread=3.0)
    log_target, log_student = log_target.float(), logits.log_softmax(-1).float()
    divergence = create(section)
    value, gradient = divergence.value_and_gradient(log_target, log_student)
    assert torch.equal(value, divergence(log_target, log_student))
    assert gradient.dtype == torch.float32
    assert gradient.shape == log_student.shape


@every
def test_single_precision_gives_the_gradient_of_double(section, definition):
    log_target, logits = rows(words=500, spread=3.0)
    _, single = analytic(create(section), log_target.float(), logits.float())
    wide = log_target.float().double().log_softmax(-1)
    _, double = analytic(create(section), wide, logits.float().double())
    torch.testing.assert_close(single.double(), double, rtol=1e-4, atol=2e-6)


@every
def test_rows_that_break_losses_have_the_gradient_of_the_definition(section, definition):
    divergence = create(section)
    compared = 0
    for target in ADVERSARIAL:
        for student in ADVERSARIAL:
            log_target = target.log_softmax(-1)[None]
            value, gradient = analytic(divergence, log_target, student[None])
            if not torch.isfinite(value).all():
                continue
            assert torch.isfinite(gradient).all(), (target, student, gradient)
            assert gradient.sum().abs() < 1e-8
            expected, slope = defined_with_gradient(definition, log_target, student[None])
            if not torch.isfinite(torch.cat([expected, slope[0]])).all():
                continue  # probabilities that are too small for a number, which logarithms are not
            tied = (log_target.exp() == student.softmax(-1)) & torch.isfinite(log_target)
            if section == "total_variation" and tied.any():
                continue  # a kink: whatever lies between its sides is a gradient
            torch.testing.assert_close(gradient, slope, rtol=1e-8, atol=1e-11)
            compared += 1
    assert compared > 15


@every
def test_the_gradient_is_finite_in_single_precision_wherever_the_value_is(section, definition):
    divergence = create(section)
    extreme = ADVERSARIAL.float()
    log_target = extreme.log_softmax(-1).repeat_interleave(len(extreme), 0)
    value, gradient = analytic(divergence, log_target, extreme.repeat(len(extreme), 1))
    finite = torch.isfinite(value)
    assert finite.sum() > 20
    assert torch.isfinite(gradient[finite]).all()


@every
def test_there_is_nothing_to_learn_at_equality(section, definition):
    log_target, _ = rows(spread=5.0)
    banned = log_target.clone()
    banned[:, 3] = -INF
    for same in (log_target, banned.log_softmax(-1)):
        value, gradient = analytic(create(section), same, same)
        assert (value.abs() < 1e-13).all()
        assert (gradient.abs() < 1e-12).all()


@pytest.mark.parametrize(
    ("near", "limit"),
    [
        (Alpha(1e-7), ReverseKL()),
        (Alpha(1 - 1e-7), ForwardKL()),
        (Renyi(1 - 1e-7), ForwardKL()),
        (SkewForwardKL(1e-7), ForwardKL()),
        (SkewReverseKL(1e-7), ReverseKL()),
        (SymmetricKL(1e-7), ReverseKL()),
    ],
    ids=["alpha_0", "alpha_1", "renyi_1", "skew_forward", "skew_reverse", "symmetric"],
)
def test_near_a_limit_the_gradient_is_the_limits_in_single_precision_too(near, limit):
    log_target, logits = rows(words=40, spread=1.0)
    _, expected = analytic(limit, log_target, logits)
    _, found = analytic(near, log_target.float(), logits.float())
    torch.testing.assert_close(found.double(), expected, rtol=2e-5, atol=5e-6)


def test_adaptive_kl_learns_from_the_tail_alone_where_the_head_fits():
    target = torch.tensor([[0.6, 0.2, 0.2]], dtype=torch.float64)
    student = torch.tensor([[0.6, 0.0, 0.4]], dtype=torch.float64)
    value, gradient = analytic(AdaptiveKL(), target.log(), student.log())
    _, reverse = analytic(ReverseKL(), target.log(), student.log())
    assert float(value) == pytest.approx(0.4 * math.log(2))
    torch.testing.assert_close(gradient, reverse)


# ── Whose gradient it is ─────────────────────────────────────────────────────────────────────


@every
def test_every_built_in_is_analytic(section, definition):
    assert create(section).is_analytic


class Doubled(ForwardKL):
    def forward(self, log_target, log_student):
        return 2.0 * super().forward(log_target, log_student)


class DoubledWithItsGradient(Doubled):
    def value_and_gradient(self, log_target, log_student):
        value, gradient = super().value_and_gradient(log_target, log_student)
        return 2.0 * value, 2.0 * gradient


class DoubledWhenCalled(ForwardKL):
    def __call__(self, log_target, log_student):
        return 2.0 * super().__call__(log_target, log_student)


class Mixin:
    def forward(self, log_target, log_student):
        return 2.0 * super().forward(log_target, log_student)


class DoubledByAMixin(Mixin, ForwardKL):
    pass


class Renamed(ForwardKL):
    pass


class Plain(Divergence):
    def forward(self, log_target, log_student):
        return (log_target.exp() - log_student.exp()).square().sum(-1)


@pytest.mark.parametrize("kind", [Doubled, DoubledWhenCalled, DoubledByAMixin, Plain])
def test_a_gradient_that_was_written_for_another_formula_does_not_count(kind):
    assert not kind().is_analytic


@pytest.mark.parametrize("kind", [Renamed, DoubledWithItsGradient])
def test_a_gradient_that_was_written_for_this_formula_does(kind):
    assert kind().is_analytic


def test_nor_does_it_count_where_one_object_has_a_formula_of_its_own():
    divergence = ForwardKL()
    divergence.forward = Plain().forward
    assert not divergence.is_analytic
    assert ForwardKL().is_analytic


def test_a_divergence_without_a_gradient_says_so():
    log_target, logits = rows()
    with pytest.raises(NotImplementedError, match="Plain gives no gradient"):
        Plain().value_and_gradient(log_target, logits.log_softmax(-1))
