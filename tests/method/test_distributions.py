"""The distributions ỹ and q̂ against plain probabilities in float64."""

import math

import pytest
import torch

from sekd_plugin.distributions import (
    log_geometric_mixture,
    log_mixture,
    log_one_hot,
    log_probabilities,
    log_self_target,
    negative_entropy,
    through_mixture,
    undefined_rows,
)


def rows(count=24, words=13, seed=0, dtype=torch.float64):
    torch.manual_seed(seed)
    first, second = (torch.randn(count, words, dtype=torch.float64) * 3 for _ in range(2))
    return first.log_softmax(-1).to(dtype), second.log_softmax(-1).to(dtype)


def close(got, expected):
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_probabilities_are_the_softened_softmax(temperature):
    logits, _ = rows()
    weights = (logits / temperature).exp()
    close(log_probabilities(logits, temperature).exp(), weights / weights.sum(-1, keepdim=True))


@pytest.mark.parametrize(
    ("given", "computed"),
    [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_half_precision_logits_are_computed_in_single(given, computed):
    logits = torch.randn(2, 5).to(given)
    found = log_probabilities(logits, 2.0)
    assert found.dtype == computed
    assert torch.equal(found, torch.log_softmax(logits.to(computed) / 2.0, -1))


@pytest.mark.parametrize("weight", [0.0, 0.2, 0.5, 1.0])
def test_the_target_is_the_gold_word_and_the_teacher_in_their_shares(weight):
    log_teacher, _ = rows()
    gold = torch.arange(24) % 13
    expected = weight * log_teacher.exp()
    expected[torch.arange(24), gold] += 1 - weight
    found = log_self_target(log_teacher, gold, weight)
    close(found.exp(), expected)
    if weight == 0.0:
        assert torch.equal(found, log_one_hot(gold, log_teacher))
        assert torch.isneginf(found).sum() == 24 * 12 and (found.exp().sum(-1) == 1.0).all()
    if weight == 1.0:
        assert found is log_teacher


def test_a_one_hot_target_has_the_gold_word_alone():
    found = log_one_hot(torch.tensor([2, 0]), torch.zeros(2, 3, dtype=torch.float32))
    assert found.tolist() == [[-math.inf, -math.inf, 0.0], [0.0, -math.inf, -math.inf]]
    assert found.dtype == torch.float32


@pytest.mark.parametrize("weight", [0.0, 0.1, 0.5, 0.99, 1.0])
def test_a_mixture_is_linear_in_probabilities_and_a_geometric_one_in_logarithms(weight):
    first, second = rows()
    close(
        log_mixture(first, second, weight).exp(), weight * first.exp() + (1 - weight) * second.exp()
    )
    product = first.exp() ** weight * second.exp() ** (1 - weight)
    close(
        log_geometric_mixture(first, second, weight).exp(), product / product.sum(-1, keepdim=True)
    )


@pytest.mark.parametrize("mixture", [log_mixture, log_geometric_mixture])
def test_at_its_ends_a_mixture_is_one_of_the_two_exactly(mixture):
    first, second = rows()
    assert mixture(first, second, 1.0) is first
    assert mixture(first, second, 0.0) is second


def test_words_that_one_or_both_rule_out_have_numbers_for_gradients():
    inf = math.inf
    first = torch.tensor([[-inf, -inf, math.log(0.5), math.log(0.5)]], dtype=torch.float64)
    second = torch.tensor([[-inf, math.log(0.25), -inf, math.log(0.75)]], dtype=torch.float64)
    first.requires_grad_(True)
    second.requires_grad_(True)
    found = log_mixture(first, second, 0.4)
    close(found.exp(), torch.tensor([[0.0, 0.15, 0.2, 0.65]], dtype=torch.float64))
    by_first, by_second = torch.autograd.grad(found[:, 1:].sum(), (first, second))
    # ∂ log m / ∂ log a = w·a / m
    close(by_first, torch.tensor([[0.0, 0.0, 1.0, 0.2 / 0.65]], dtype=torch.float64))
    close(by_second, torch.tensor([[0.0, 1.0, 0.0, 0.45 / 0.65]], dtype=torch.float64))


def test_the_gradient_of_two_equal_shares_is_half_each():
    equal = torch.zeros(1, 1, dtype=torch.float64)
    first, second = (equal.clone().requires_grad_(True) for _ in range(2))
    by_first, by_second = torch.autograd.grad(
        log_mixture(first, second, 0.5).sum(), (first, second)
    )
    assert float(by_first) == float(by_second) == 0.5


@pytest.mark.parametrize("words", [1, 7, 13, 250])
def test_a_row_is_the_same_to_the_last_bit_whatever_stands_beside_it(words):
    first, second = rows(words=words, dtype=torch.float32)
    gold = torch.zeros(24, dtype=torch.int64)
    together = log_mixture(first, second, 0.3), log_self_target(first, gold, 0.3)
    for size in (1, 5):
        for start in range(0, 24, size):
            part = slice(start, start + size)
            assert torch.equal(log_mixture(first[part], second[part], 0.3), together[0][part])
            alone = log_self_target(first[part], gold[part], 0.3)
            assert torch.equal(alone, together[1][part])


def test_any_leading_dimensions_give_each_row_its_distribution():
    first, second = rows()
    gold = torch.arange(24) % 13
    shape = (2, 3, 4)
    wide_first, wide_second = first.reshape(*shape, 13), second.reshape(*shape, 13)
    for flat, shaped in (
        (log_probabilities(first, 2.0), log_probabilities(wide_first, 2.0)),
        (log_one_hot(gold, first), log_one_hot(gold.reshape(shape), wide_first)),
        (log_mixture(first, second, 0.3), log_mixture(wide_first, wide_second, 0.3)),
        (
            log_geometric_mixture(first, second, 0.3),
            log_geometric_mixture(wide_first, wide_second, 0.3),
        ),
        *(
            (log_self_target(first, gold, w), log_self_target(wide_first, gold.reshape(shape), w))
            for w in (0.0, 0.3, 1.0)
        ),
    ):
        torch.testing.assert_close(shaped.reshape(24, 13), flat)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_a_gradient_goes_through_a_mixture_as_its_formula_says(weight):
    first, second = (log.exp().requires_grad_(True) for log in rows())
    outer = torch.randn(24, 13, dtype=torch.float64)
    mixed = (weight * first + (1.0 - weight) * second).log()
    (by_first,) = torch.autograd.grad((outer * mixed).sum(), first)
    log_first, log_mixed = first.detach().log(), mixed.detach()
    close(through_mixture(log_first, log_mixed, weight, outer), by_first * first.detach())


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_through_a_mixture_a_word_without_probability_gets_no_gradient(weight):
    inf = math.inf
    log_first = torch.tensor([[0.0, -inf, -inf, -1.0]])
    log_second = torch.tensor([[0.0, -inf, -1.0, -inf]])
    log_mixed = log_mixture(log_first, log_second, weight)
    gradient = through_mixture(log_first, log_mixed, weight, torch.full((1, 4), 3.0))
    assert gradient[0, 1:3].tolist() == [0.0, 0.0]
    # Where the first part alone is possible, it is all of the mixture; without weight, nothing is.
    assert gradient[0, 3] == (0.0 if weight == 0.0 else 3.0)


def test_the_negative_entropy_is_the_sum_of_p_log_p_and_a_zero_adds_nothing():
    log_p, _ = rows()
    log_p[:, :3] = -math.inf
    expected = [
        math.fsum(math.exp(each) * each for each in row if each > -math.inf)
        for row in log_p.tolist()
    ]
    expected = torch.tensor(expected, dtype=torch.float64)
    close(negative_entropy(log_p), expected)
    close(negative_entropy(log_p.reshape(4, 6, -1)), expected.reshape(4, 6))
    alone = log_one_hot(torch.tensor([2]), log_p[:1])
    close(negative_entropy(alone), torch.zeros(1, dtype=torch.float64))
    uniform = torch.full((1, 8), -math.log(8), dtype=torch.float64)
    close(negative_entropy(uniform), torch.tensor([-math.log(8)], dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_a_row_is_undefined_with_nan_or_infinity_in_it_or_with_nothing_possible(dtype):
    inf, nan = math.inf, math.nan
    logits = torch.tensor(
        [
            [1, 2, 3],
            [1, nan, 3],
            [inf, 2, 3],
            [-inf, 2, -inf],
            [-inf, -inf, -inf],
            [nan, inf, -inf],
        ],
        dtype=dtype,
    )
    assert undefined_rows(logits).tolist() == [False, True, True, False, True, True]
    assert undefined_rows(logits[None]).shape == (1, 6)
