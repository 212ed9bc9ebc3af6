"""The passes written with torch, against the definition in float64."""

import math

import pytest
import torch
from forward_kl_rows import straining_rows
from hypothesis import given
from method_cases import batches, build, loss_and_gradient, settings_of_method
from streamed_rows import (
    EVERY_WEIGHT_AND_SHARE,
    defined,
    every_second,
    expect_equal,
    streamed,
    the_others,
)

from sekd_plugin import SelfEvolutionKD
from sekd_plugin.kernels import passes
from sekd_plugin.kernels.streamed import StreamedRows

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("words", [1, 2, 7, 33])
@pytest.mark.parametrize("decide", [every_second, the_others])
def test_straining_rows_come_out_as_defined(words, decide, dtype):
    rows = straining_rows(words, dtype)
    for settings in EVERY_WEIGHT_AND_SHARE:
        found = streamed(passes, *rows, settings, decide=decide)
        expect_equal(found, defined(*rows, settings, decide))


@pytest.mark.parametrize("temperature", [0.5, 3.0])
def test_both_are_softened(temperature):
    student, teacher, targets = straining_rows(33, torch.float32)
    settings = {"teacher_weight": 0.5, "beta": 0.5, "temperature": temperature}
    found = streamed(passes, student, teacher, targets, settings)
    expect_equal(found, defined(student, teacher, targets, settings))


def test_a_large_vocabulary_loses_no_digits():
    student, teacher, targets = straining_rows(32_003, torch.float32)
    settings = {"teacher_weight": 0.5, "beta": 0.5}
    found = streamed(passes, student, teacher, targets, settings)
    expect_equal(found, defined(student, teacher, targets, settings))
    assert (found["difficulty"] >= -1e-6).all()


def test_the_gradient_may_be_written_over_the_student():
    student, teacher, targets = straining_rows(33, torch.bfloat16)
    settings = {"teacher_weight": 0.5, "beta": 0.5}
    expected = defined(student, teacher, targets, settings)
    expect_equal(streamed(passes, student, teacher, targets, settings, out=student), expected)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("whose", [0, 1])
@pytest.mark.parametrize("word", [0, 4])
def test_a_row_that_is_not_finite_has_no_difficulty(value, whose, word):
    rows = [torch.randn(3, 5), torch.randn(3, 5)]
    rows[whose][1, word] = value
    settings = {"teacher_weight": 0.5, "beta": 0.5}
    found = streamed(passes, *rows, torch.tensor([4, 4, 4]), settings)["difficulty"]
    assert found.isnan().tolist() == [False, True, False]


@pytest.mark.parametrize("whose", [0, 1])
def test_nor_has_a_row_without_a_possible_word(whose):
    rows = [torch.randn(3, 5), torch.randn(3, 5)]
    rows[whose][1] = -math.inf
    settings = {"teacher_weight": 1.0, "beta": 0.5}
    found = streamed(passes, *rows, torch.tensor([4, 4, 4]), settings)["difficulty"]
    assert found.isnan().tolist() == [False, True, False]


def test_a_teacher_that_agrees_is_seen_among_equals():
    student = torch.tensor([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0], [2.0, 2.0, 2.0]])
    teacher = torch.tensor([[0.0, 3.0, 3.0], [0.0, 1.0, 0.0], [0.0, 0.0, 5.0]])
    settings = {"teacher_weight": 0.5, "beta": 0.5}
    found = streamed(passes, student, teacher, torch.tensor([0, 0, 0]), settings)
    assert found["agreement"].tolist() == [True, False, True]


class Streamed(SelfEvolutionKD):
    def row_kernel(self, device, division):
        return StreamedRows(self, passes, hard_scale=self.proxy.scale(self.beta))


def streaming(settings, **more):
    return build(settings, **more), Streamed(
        threshold={"name": "fixed", "config": {"gamma": settings["gamma"]}},
        **{name: settings[name] for name in ("teacher_weight", "beta", "temperature")},
        **more,
    )


@given(batches(), settings_of_method)
def test_a_criterion_on_streams_is_the_reference(batch, settings):
    settings = {**settings, "divergence": "forward_kl", "difficulty": None, "proxy": "linear"}
    reference, criterion = streaming(settings, temperature_squared=True)
    reference.kernel = "reference"
    expected, gradient = loss_and_gradient(reference, *batch)
    if ((expected.difficulty - settings["gamma"]).abs() < 1e-8).any():
        return
    output, slope = loss_and_gradient(criterion, *batch)
    for name in ("loss", "difficulty", "token_loss", "cross_entropy"):
        torch.testing.assert_close(
            getattr(output, name), getattr(expected, name), rtol=1e-9, atol=1e-11
        )
    assert torch.equal(output.hard, expected.hard)
    assert torch.equal(output.agreement, expected.agreement)
    torch.testing.assert_close(slope, gradient, rtol=1e-8, atol=1e-11)


def test_without_a_teacher_it_learns_from_gold_alone():
    torch.manual_seed(2)
    student, targets = torch.randn(6, 5, dtype=torch.float64), torch.arange(6) % 5
    settings = {"teacher_weight": 0.0, "beta": 0.5, "gamma": 1.5, "temperature": 2.0}
    settings |= {"divergence": "forward_kl", "difficulty": None, "proxy": "linear"}
    reference, criterion = streaming(settings)
    reference.kernel = "reference"
    expected, gradient = loss_and_gradient(reference, student, None, targets)
    output, slope = loss_and_gradient(criterion, student, None, targets)
    torch.testing.assert_close(output.token_loss, expected.token_loss)
    torch.testing.assert_close(output.difficulty, expected.difficulty)
    torch.testing.assert_close(slope, gradient)
    assert output.agreement is None
    assert 0 < int(output.hard.sum()) < 6


def test_nothing_is_written_where_nothing_is_to_be_learnt():
    student, teacher, targets = straining_rows(7, torch.float32)
    kernel = StreamedRows(build_settings(), passes, hard_scale=1.0)
    found = kernel.losses(student, teacher, targets, lambda d: d > 1.0, None)
    assert found.token_loss.shape == targets.shape


def build_settings():
    return SelfEvolutionKD(threshold={"name": "fixed", "config": {"gamma": 1.0}})
