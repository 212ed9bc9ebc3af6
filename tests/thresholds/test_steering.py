"""The steering of target_ratio, a step at a time, against its formula written out plainly."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from sekd_plugin import Schedule, SelfEvolutionKD
from sekd_plugin.thresholds import TargetRatioThreshold
from sekd_plugin.thresholds.target_ratio import _value_at


def on_the_line(points, place):
    """The height at ``place`` of the lines through the points, level beyond the first and last."""
    points = sorted(points)
    if place <= points[0][0]:
        return points[0][1]
    for (x0, y0), (x1, y1) in pairwise(points):
        if x0 <= place <= x1 and x1 > x0:
            return y0 + (place - x0) / (x1 - x0) * (y1 - y0)
    return points[-1][1]


def value_with_share_above(values, gamma, share):
    """The value that leaves ``share`` of ``values`` above it: value i leaves N − i − ½ of them."""
    count = len(values)
    points = [(count - i - 0.5, value) for i, value in enumerate(values)]
    if gamma is not None:
        points.append((float(sum(value > gamma for value in values)), gamma))
    # Going up in the number of values above, the values themselves fall.
    return on_the_line(points, min(max(share, 0.0), 1.0) * count)


distinct = st.lists(st.integers(0, 60), min_size=1, max_size=7, unique=True).map(sorted)


@given(distinct, st.one_of(st.none(), st.integers(-3, 125)), st.integers(-8, 40))
def test_a_value_is_found_on_the_lines_between_the_values_and_gamma(values, halves, part):
    values = [float(value) for value in values]
    gamma = None if halves is None else halves / 2 + 0.25
    share = part / 32
    hard = 0 if gamma is None else sum(value > gamma for value in values)
    found = _value_at(torch.tensor(values, dtype=torch.float64), gamma, hard, share)
    assert found == pytest.approx(value_with_share_above(values, gamma, share), abs=1e-9)


@pytest.mark.parametrize("gamma", [None, 2.5])
def test_a_share_beyond_none_or_all_is_taken_as_that(gamma):
    values = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0], dtype=torch.float64)
    for share in (-5.0, -1.0, -0.25, 0.0):
        assert _value_at(values, gamma, 3, share) == 5.0
    for share in (1.0, 1.25, 2.0, 5.0):
        assert _value_at(values, gamma, 3, share) == 1.0


def follow(steps, ratio, momentum):
    """Γ after each step, by the formula in the documentation."""
    gamma, trim, seen = math.inf, 0.0, []

    def within(miss):
        return max(-0.1, min(0.1, miss))

    for number, values in enumerate(steps):
        now, then = ratio(number), ratio(number + 1)
        if gamma == math.inf:
            gamma = value_with_share_above(values, None, then + trim)
        else:
            observed = sum(value > gamma for value in values) / len(values)
            miss = within(now - observed)
            trim = within(trim + 0.1 * len(values) / (len(values) + 100) * miss)
            share = momentum * observed + (1 - momentum) * (now + trim) + (then - now)
            gamma = value_with_share_above(values, gamma, share)
        seen.append((gamma, trim))
    return seen


@given(
    st.lists(
        st.lists(st.integers(0, 1000), min_size=1, max_size=40, unique=True).map(sorted),
        min_size=2,
        max_size=6,
    ),
    st.sampled_from([0.1, 0.3, 0.5, 0.77]),
    st.sampled_from([0.2, 0.6, 0.9]),
    st.sampled_from([0.0, 0.3, 0.5, 0.9]),
)
def test_every_step_moves_gamma_as_the_formula_says(steps, start, end, momentum):
    steps = [[value + 0.125 * number for value in step] for number, step in enumerate(steps)]
    schedule = Schedule(start, end, 4)
    threshold = TargetRatioThreshold(schedule, momentum)
    expected = follow(steps, schedule, momentum)
    for values, (gamma, trim) in zip(steps, expected, strict=True):
        # Where Γ falls on a value, rounding decides whether that one is above it.
        assume(all(abs(gamma - value) > 1e-6 for step in steps for value in step) or len(steps) < 3)
        threshold.step(torch.tensor(values, dtype=torch.float64))
        assert threshold.gamma == pytest.approx(gamma, abs=1e-6)
        assert threshold.state_dict()["trim"] == pytest.approx(trim, abs=1e-9)


@pytest.mark.parametrize("tokens", [1, 100, 900])
def test_a_lasting_miss_adds_up_by_a_tenth_at_most_and_less_for_few_tokens(tokens):
    threshold = TargetRatioThreshold(0.5, momentum=0.0)
    first = torch.arange(1.0, tokens + 1.0, dtype=torch.float64)
    threshold.step(first)
    threshold.step(first + 10_000.0)  # all of them above Γ: a miss of one half, taken as a tenth
    assert threshold.state_dict()["trim"] == pytest.approx(-0.01 * tokens / (tokens + 100))


def test_equal_and_infinite_difficulties_leave_gamma_where_it_can_be_compared():
    threshold = TargetRatioThreshold(0.5)
    threshold.step(torch.tensor([1.0, 1.0, 1.0, 1.0]))
    assert threshold.gamma == 1.0
    threshold.step(torch.full((3,), math.inf))
    assert threshold.gamma == 1.0
    threshold.step(torch.tensor([1.0, 1.0, math.inf, math.inf]))
    assert threshold.gamma == 1.0


@pytest.mark.parametrize(
    ("ratio", "gammas"),
    [
        ({"start": 0.0, "end": 0.5, "num_steps": 1}, [math.inf, 2.5]),
        ({"start": 1.0, "end": 0.5, "num_steps": 1}, [math.inf, 2.5]),
        ({"start": 0.5, "end": 1.0, "num_steps": 1}, [math.inf, -math.inf]),
        ({"start": 0.5, "end": 0.0, "num_steps": 1}, [math.inf, math.inf]),
    ],
)
def test_none_and_all_are_infinite_gammas_but_only_at_their_step(ratio, gammas):
    threshold = TargetRatioThreshold(ratio)
    seen = [threshold.gamma]
    threshold.step(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    assert [*seen, threshold.gamma] == gammas


@pytest.mark.parametrize("shape", ["linear", "cosine", "exponential"])
def test_a_schedule_meets_its_ends_exactly_whatever_rounding_does_between(shape):
    for start, end in ((1e16, 1.0), (1.0, 1e16), (0.1, 0.7), (3e-9, 1e17)):
        schedule = Schedule(start, end, 3, shape)
        assert schedule(0) == start
        assert schedule(3) == schedule(4) == schedule(300) == end


def test_the_reference_can_be_differentiated_twice_and_the_chunked_kernel_says_that_it_cannot():
    torch.manual_seed(0)
    teacher, targets = torch.randn(3, 4, dtype=torch.float64), torch.tensor([0, 1, 2])
    identity = torch.eye(4, dtype=torch.float64)
    for kernel, twice in (("reference", True), ("chunked", False), ("auto", False)):
        for linear in (False, True):
            criterion = SelfEvolutionKD()
            criterion.kernel = "".join(list(kernel))
            student = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
            if linear:
                loss = criterion.forward_linear(
                    student, identity, targets=targets, teacher_logits=teacher
                ).loss
            else:
                loss = criterion(student, teacher, targets).loss
            (slope,) = torch.autograd.grad(loss, student, create_graph=True)
            if twice:
                (second,) = torch.autograd.grad(slope.square().sum(), student)
                assert (second != 0.0).all()
            else:
                with pytest.raises(RuntimeError):
                    torch.autograd.grad(slope.square().sum(), student)
