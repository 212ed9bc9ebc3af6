"""Gradients against the formulas of the method, written out in float64."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from method_cases import ALL_HARD, EASY, KERNELS, SMALL, batches, loss_and_gradient
from method_definition import log_linear, softmax, target_of

from sekd_plugin import SelfEvolutionKD, WordKD

WEIGHTS = st.sampled_from([0.0, 0.1, 0.5, 1.0])
BETAS = st.sampled_from([0.25, 0.5, 0.9])
TEMPERATURES = st.sampled_from([0.5, 1.0, 3.0])


def distributions(batch, weight, temperature):
    student, teacher, targets = batch
    p = softmax(teacher, temperature)
    target = torch.stack(
        [target_of(row, int(gold), weight) for row, gold in zip(p, targets, strict=True)]
    )
    return target, softmax(student, temperature)


def gradient_of(batch, kernel, **settings):
    criterion = SelfEvolutionKD(**settings)
    criterion.kernel = kernel
    criterion.chunk_bytes = SMALL
    return loss_and_gradient(criterion, *batch)[1]


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-10)


@given(batches(), KERNELS, WEIGHTS, TEMPERATURES)
def test_an_easy_tokens_gradient_is_the_student_less_the_target(batch, kernel, weight, t):
    target, q = distributions(batch, weight, t)
    found = gradient_of(batch, kernel, teacher_weight=weight, temperature=t, threshold=EASY)
    close(found, (q - target) / t)


@given(batches(), KERNELS, WEIGHTS, BETAS, TEMPERATURES)
def test_a_hard_tokens_gradient_is_that_of_the_skewed_divergence(batch, kernel, weight, beta, t):
    target, q = distributions(batch, weight, t)
    found = gradient_of(
        batch, kernel, teacher_weight=weight, beta=beta, temperature=t, threshold=ALL_HARD
    )
    ratio = target / (beta * q + (1 - beta) * target)
    close(found, -beta * q * (ratio - (q * ratio).sum(-1, keepdim=True)) / t)


@given(batches(), KERNELS, st.sampled_from([0.1, 0.5, 1.0]), BETAS, TEMPERATURES)
def test_the_log_linear_proxys_gradient_is_beta_times_the_proxy_less_the_target(
    batch, kernel, weight, beta, t
):
    target, q = distributions(batch, weight, t)
    found = gradient_of(
        batch,
        kernel,
        teacher_weight=weight,
        beta=beta,
        temperature=t,
        threshold=ALL_HARD,
        proxy="log_linear",
    )
    proxy = torch.stack([log_linear(a, b, beta)[1] for a, b in zip(target, q, strict=True)])
    close(found, beta * (proxy - target) / t)


@given(batches(), KERNELS, WEIGHTS, BETAS, TEMPERATURES)
def test_the_detached_proxys_gradient_is_an_easy_one_times_one_less_beta(
    batch, kernel, weight, beta, t
):
    target, q = distributions(batch, weight, t)
    found = gradient_of(
        batch,
        kernel,
        teacher_weight=weight,
        beta=beta,
        temperature=t,
        threshold=ALL_HARD,
        proxy="detached",
    )
    close(found, (1 - beta) * (q - target) / t)


@given(batches(), KERNELS, st.sampled_from([0.0, 0.3, 1.0]), st.sampled_from([1.0, 2.0]))
def test_word_kd_learns_what_torchs_cross_entropy_and_kl_divergence_teach(batch, kernel, weight, t):
    student, teacher, targets = batch
    criterion = WordKD(teacher_weight=weight, temperature=t, temperature_squared=True)
    criterion.kernel = kernel
    _, found = loss_and_gradient(criterion, student, teacher, targets)
    leaf = student.clone().requires_grad_(True)
    kl = torch.nn.functional.kl_div(
        torch.log_softmax(leaf / t, -1), torch.softmax(teacher / t, -1), reduction="sum"
    )
    gold = torch.nn.functional.cross_entropy(leaf / t, targets, reduction="sum")
    (expected,) = torch.autograd.grad(t**2 * ((1 - weight) * gold + weight * kl), leaf)
    close(found, expected)


@pytest.mark.parametrize("kernel", ["reference", "chunked"])
def test_the_less_a_student_believes_the_gold_word_the_less_a_hard_token_teaches_it(kernel):
    teacher, targets = torch.zeros(1, 4, dtype=torch.float64), torch.tensor([0])
    pulls = []
    for gap in (0.0, 5.0, 10.0, 20.0):
        student = torch.tensor([[-gap, 0.0, 0.0, 0.0]], dtype=torch.float64)
        linear = gradient_of((student, teacher, targets), kernel, threshold=ALL_HARD)
        easy = gradient_of((student, teacher, targets), kernel, threshold=EASY)
        pulls.append(float(linear[0, 0].abs()))
        assert easy[0, 0] < -0.3
    assert pulls == sorted(pulls, reverse=True)
    assert pulls[-1] < 1e-8
