"""Words that a model rules out: by minus infinity, or by a logit that leaves no probability."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from method_cases import EASY, KERNELS, batches, build, fixed, loss_and_gradient, settings_of_method
from method_definition import DIVERGENCES, PROXIES

from sekd_plugin import Divergence, NonFiniteLogitsError, SelfEvolutionKD

NO_PROBABILITY = [-math.inf, -1e4, float(torch.finfo(torch.float32).min)]
PAIRS = st.sampled_from([(a, b) for a in NO_PROBABILITY for b in NO_PROBABILITY])


@given(batches(), settings_of_method, KERNELS, PAIRS)
def test_a_word_that_neither_model_gives_probability_counts_for_nothing(
    batch, settings, kernel, pair
):
    student, teacher, targets = batch
    criterion = build(settings, kernel)
    expected, gradient = loss_and_gradient(criterion, student, teacher, targets)
    if ((expected.difficulty - settings["gamma"]).abs() < 1e-8).any():
        return
    of_student, of_teacher = (torch.full((len(targets), 1), logit).double() for logit in pair)

    output, slope = loss_and_gradient(
        criterion,
        torch.cat([student, of_student], dim=-1),
        torch.cat([teacher, of_teacher], dim=-1),
        targets,
    )

    torch.testing.assert_close(output.difficulty, expected.difficulty, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(output.token_loss, expected.token_loss, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(slope[:, :-1], gradient, rtol=1e-8, atol=1e-11)
    assert (slope[:, -1] == 0.0).all()


@given(batches(), settings_of_method, KERNELS, PAIRS)
def test_it_counts_for_nothing_against_the_gold_word_alone_either(batch, settings, kernel, pair):
    if "reverse_kl" in (settings["divergence"], settings["difficulty"]):
        return  # refused with a one-hot target
    student, teacher, targets = batch
    criterion = build({**settings, "teacher_weight": 0.0}, kernel)
    if settings["proxy"] == "log_linear" and settings["beta"] in (0.0, 1.0):
        return  # q̂ is then one of the two, and covered above
    expected, gradient = loss_and_gradient(criterion, student, teacher, targets)
    if ((expected.difficulty - settings["gamma"]).abs() < 1e-8).any():
        return
    banned = torch.full((len(targets), 1), pair[0]).double()
    output, slope = loss_and_gradient(
        criterion, torch.cat([student, banned], -1), torch.cat([teacher, banned], -1), targets
    )
    torch.testing.assert_close(output.token_loss, expected.token_loss, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(slope[:, :-1], gradient, rtol=1e-8, atol=1e-11)
    assert (slope[:, -1] == 0.0).all()


EXTREME = [1e4, -1e4, 0.0, 1.0, -math.inf, 80.0, -110.0]


@given(
    st.data(),
    settings_of_method,
    st.sampled_from([0.0, 0.5, 1.0]),
    st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
    KERNELS,
)
def test_extreme_logits_are_finite_with_every_divergence_and_proxy(
    data, settings, weight, dtype, kernel
):
    if weight == 0.0 and "reverse_kl" in (settings["divergence"], settings["difficulty"]):
        return
    rows, words = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 5))
    row = st.lists(st.sampled_from(EXTREME), min_size=words, max_size=words)
    student, teacher = (
        torch.tensor([data.draw(row) for _ in range(rows)], dtype=dtype) for _ in range(2)
    )
    targets = torch.tensor([data.draw(st.integers(0, words - 1)) for _ in range(rows)])
    banned = torch.isneginf(student) | torch.isneginf(teacher)
    banned[torch.arange(rows), targets] = False
    student.masked_fill_(banned, -math.inf)
    teacher.masked_fill_(banned, -math.inf)
    gold = torch.arange(rows), targets
    student[gold], teacher[gold] = student[gold].clamp(min=-1e4), teacher[gold].clamp(min=-1e4)

    criterion = build({**settings, "teacher_weight": weight}, kernel)
    output, gradient = loss_and_gradient(criterion, student, teacher, targets)

    assert output.difficulty.isfinite().all() and (output.difficulty >= -1e-6).all()
    assert output.token_loss.isfinite().all() and (output.token_loss >= -1e-6).all()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("kernel", ["reference", "chunked"])
@pytest.mark.parametrize("divergence", sorted(DIVERGENCES))
@pytest.mark.parametrize("proxy", sorted(PROXIES))
@pytest.mark.parametrize("gold_probability", [0.0, 1.0])
def test_a_teacher_that_is_sure_of_the_gold_word_or_of_another_is_finite(
    kernel, divergence, proxy, gold_probability
):
    student = torch.tensor([[0.3, -0.2, 0.9]])
    gold, other = (1e4, -1e4) if gold_probability else (-1e4, 1e4)
    teacher = torch.tensor([[gold, other, -1e4]])
    assert float(torch.softmax(teacher, -1)[0, 0]) == gold_probability
    for gamma in (0.0, math.inf):
        criterion = SelfEvolutionKD(
            divergence=DIVERGENCES[divergence][0], proxy=proxy, threshold=fixed(gamma)
        )
        criterion.kernel = kernel
        output, gradient = loss_and_gradient(criterion, student, teacher, torch.tensor([0]))
        assert output.loss.isfinite()
        # A geometric blend with a one-hot target is that target: nothing is left to learn.
        nothing_left = proxy == "log_linear" and gold_probability == 1.0 and gamma == 0.0
        assert output.loss == 0.0 if nothing_left else output.loss > 0.0
        assert gradient.isfinite().all()


@pytest.mark.parametrize("kernel", ["reference", "chunked"])
def test_a_loss_that_is_no_number_is_never_handed_on_behind_a_finite_difficulty(kernel):
    class Undefined(Divergence):
        def forward(self, log_target, log_student):
            return (log_student.exp() - 2.0).log().sum(-1)

    criterion = SelfEvolutionKD(divergence=Undefined(), difficulty="forward_kl", threshold=EASY)
    criterion.kernel = kernel
    with pytest.raises(ValueError, match="returned NaN"):
        criterion(torch.randn(3, 4), torch.randn(3, 4), torch.tensor([0, 1, 2]))
    criterion.step()
    assert not criterion._observed


@pytest.mark.parametrize("kernel", ["reference", "chunked"])
@pytest.mark.parametrize("divergence", sorted(DIVERGENCES))
def test_a_row_without_any_possible_word_is_refused(kernel, divergence):
    student, teacher = torch.randn(3, 4), torch.randn(3, 4)
    teacher[1] = -math.inf
    criterion = SelfEvolutionKD(divergence=DIVERGENCES[divergence][0])
    criterion.kernel = kernel
    with pytest.raises(NonFiniteLogitsError) as error:
        criterion(student, teacher, torch.tensor([0, 1, 2]))
    assert (error.value.model, error.value.rows) == ("teacher", [1])
