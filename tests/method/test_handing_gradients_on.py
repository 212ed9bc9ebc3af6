"""What autograd sees of the criterion: scaled, summed, repeated, under autocast and without it."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from method_cases import SMALL, batches, build, fixed, loss_and_gradient, settings_of_method
from method_definition import DIVERGENCES, PROXIES

from sekd_plugin import CrossEntropy, SelfEvolutionKD


def batch(rows=6, words=50, dtype=torch.float32):
    torch.manual_seed(0)
    student, teacher = torch.randn(rows, words) * 2, torch.randn(rows, words) * 2
    return student.to(dtype), teacher.to(dtype), torch.randint(0, words, (rows,))


def criterion_of(kernel="chunked", **settings):
    criterion = SelfEvolutionKD(**{"threshold": fixed(1.0), **settings})
    criterion.kernel = kernel
    criterion.chunk_bytes = SMALL
    return criterion


@given(batches(), settings_of_method, st.floats(-3, 3))
def test_the_gradient_follows_what_is_done_with_the_loss(batch, settings, factor):
    student, teacher, targets = batch
    criterion = build(settings)
    _, gradient = loss_and_gradient(criterion, student, teacher, targets)
    leaf = student.clone().requires_grad_(True)
    loss = criterion(leaf, teacher, targets).loss
    (factor * loss).backward(retain_graph=True)
    torch.testing.assert_close(leaf.grad, factor * gradient)
    loss.backward()
    torch.testing.assert_close(leaf.grad, (factor + 1.0) * gradient)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_factor_of_a_half_precision_gradient_is_not_rounded(dtype):
    student, teacher, targets = batch(words=4000, dtype=dtype)
    student = student / 8
    factor = 1.0 / 1234.0
    criterion = criterion_of(threshold=fixed(float("inf")), teacher_weight=1.0)
    leaf = student.clone().requires_grad_(True)
    (found,) = torch.autograd.grad(criterion(leaf, teacher, targets).loss * 1000 * factor, leaf)
    exact = student.double().requires_grad_(True)
    loss = criterion(exact, teacher.double(), targets).loss
    (expected,) = torch.autograd.grad(loss * 1000 * factor, exact)
    large = expected.abs() > 1e-3
    assert large.sum() > 50
    # Single elements are rounded, but not all of them in one direction.
    bias = (found.double()[large] / expected[large] - 1.0).mean().abs()
    assert bias < 2.0 ** (-12 if dtype == torch.float16 else -10)


@pytest.mark.parametrize("proxy", sorted(PROXIES))
def test_a_second_derivative_is_refused_rather_than_wrong(proxy):
    student, teacher, targets = batch()
    leaf = student.requires_grad_(True)
    loss = criterion_of(proxy=proxy)(leaf, teacher, targets).loss
    (gradient,) = torch.autograd.grad(loss.square(), leaf, create_graph=True)
    with pytest.raises(RuntimeError):
        torch.autograd.grad(gradient.square().sum(), leaf)


@pytest.mark.parametrize("proxy", sorted(PROXIES))
@pytest.mark.parametrize("divergence", sorted(DIVERGENCES))
@pytest.mark.parametrize("linear", [False, True])
def test_nothing_is_differentiated_where_gradients_are_off(proxy, divergence, linear, monkeypatch):
    student, teacher, targets = batch()
    criterion = criterion_of(proxy=proxy, divergence=DIVERGENCES[divergence][0])
    kernel, wanted = criterion.row_kernel(torch.device("cpu"), None), []
    losses = type(kernel).losses

    def spy(self, logits, reference, gold, decide, gradient):
        wanted.append(gradient is not None)
        return losses(self, logits, reference, gold, decide, gradient)

    monkeypatch.setattr(type(kernel), "losses", spy)
    weight = torch.randn(50, 4, requires_grad=True)
    for enabled in (False, True):
        with torch.set_grad_enabled(enabled):
            if linear:
                output = criterion.forward_linear(
                    torch.randn(6, 4), weight, targets=targets, teacher_logits=teacher
                )
            else:
                output = criterion(student.requires_grad_(True), teacher, targets)
        assert set(wanted) == {enabled}
        assert output.loss.requires_grad == enabled
        wanted.clear()


@pytest.mark.parametrize("kernel", ["reference", "chunked"])
@pytest.mark.parametrize("proxy", sorted(PROXIES))
@pytest.mark.parametrize("divergence", sorted(DIVERGENCES))
def test_autocast_changes_nothing_about_logits(kernel, proxy, divergence):
    student, teacher, targets = batch()
    criterion = criterion_of(kernel, proxy=proxy, divergence=DIVERGENCES[divergence][0])
    expected, gradient = loss_and_gradient(criterion, student, teacher, targets)
    with torch.autocast("cpu", torch.bfloat16):
        output, slope = loss_and_gradient(criterion, student, teacher, targets)
    assert torch.equal(output.loss, expected.loss)
    assert torch.equal(slope, gradient)


@pytest.mark.parametrize("proxy", sorted(PROXIES))
def test_hidden_states_under_autocast_give_what_their_logits_give_there(proxy):
    _, teacher, targets = batch()
    leaves = [torch.randn(6, 16, requires_grad=True), torch.randn(50, 16, requires_grad=True)]
    found = []
    for linear in (True, False):
        criterion = criterion_of("chunked" if linear else "reference", proxy=proxy)
        with torch.autocast("cpu", torch.bfloat16):
            if linear:
                output = criterion.forward_linear(*leaves, targets=targets, teacher_logits=teacher)
            else:
                logits = torch.nn.functional.linear(*leaves)
                output = criterion(logits, teacher, targets)
        found.append((output, torch.autograd.grad(output.loss, leaves)))
    (output, gradients), (expected, slopes) = found
    torch.testing.assert_close(output.token_loss, expected.token_loss)
    for gradient, slope, leaf in zip(gradients, slopes, leaves, strict=True):
        assert gradient.dtype == leaf.dtype
        torch.testing.assert_close(gradient, slope, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("learning", [(True, False), (False, True), (True, True)])
def test_hidden_states_and_projection_learn_each_for_itself(learning):
    _, teacher, targets = batch(dtype=torch.float64)
    torch.manual_seed(1)
    hidden, weight = torch.randn(6, 4).double(), torch.randn(50, 4).double()
    hidden.requires_grad_(learning[0])
    weight.requires_grad_(learning[1])
    leaves = [leaf for leaf in (hidden, weight) if leaf.requires_grad]
    output = criterion_of().forward_linear(hidden, weight, targets=targets, teacher_logits=teacher)
    found = torch.autograd.grad(output.loss, leaves)
    expected = criterion_of("reference")(hidden @ weight.T, teacher, targets).loss
    for gradient, slope in zip(found, torch.autograd.grad(expected, leaves), strict=True):
        torch.testing.assert_close(gradient, slope)


@pytest.mark.parametrize("kernel", ["reference", "chunked"])
@pytest.mark.parametrize("threshold", [fixed(4.5), {"name": "top_k", "config": {"ratio": 0.4}}])
def test_hidden_states_with_mask_biases_and_a_padded_teacher_give_what_logits_give(
    kernel, threshold
):
    torch.manual_seed(0)
    shape, words = (3, 4), 11
    targets = torch.randint(0, words, shape)
    mask = torch.rand(shape) > 0.3
    hidden, weight, bias = torch.randn(*shape, 5), torch.randn(words, 5), torch.randn(words)
    states, reference, shift = torch.randn(*shape, 6), torch.randn(words + 3, 6), torch.randn(14)
    targets[~mask] = -100
    hidden[~mask] = float("nan")
    states[~mask] = float("inf")
    leaves = [part.double().requires_grad_(True) for part in (hidden, weight, bias)]
    teacher = [part.double().requires_grad_(True) for part in (states, reference, shift)]

    def run(linear):
        criterion = criterion_of(kernel if linear else "reference", threshold=threshold)
        if linear:
            output = criterion.forward_linear(
                leaves[0],
                leaves[1],
                teacher[0],
                teacher[1],
                targets,
                mask,
                student_bias=leaves[2],
                teacher_bias=teacher[2],
            )
        else:
            kept = (leaves[0] @ leaves[1].T + leaves[2])[mask]
            of_teacher = (teacher[0] @ teacher[1].T + teacher[2])[mask][:, :words]
            output = criterion(kept, of_teacher, targets[mask])
        return output, torch.autograd.grad(output.loss, leaves, allow_unused=True)

    output, gradients = run(True)
    expected, _ = run(False)
    torch.testing.assert_close(output.token_loss, expected.token_loss)
    assert torch.equal(output.hard, expected.hard)
    assert 0 < int(output.hard.sum()) < output.num_targets == int(mask.sum())
    assert (gradients[0][~mask] == 0.0).all()
    assert all(gradient.isfinite().all() for gradient in gradients)
    clean = torch.where(mask[..., None], leaves[0].detach(), 0.0).requires_grad_(True)
    again = criterion_of("reference", threshold=threshold)(
        (clean @ leaves[1].T + leaves[2]),
        torch.where(mask[..., None], teacher[0] @ teacher[1].T + teacher[2], 0.0),
        targets,
        mask,
    )
    slopes = torch.autograd.grad(again.loss, [clean, *leaves[1:]])
    for gradient, slope in zip(gradients, slopes, strict=True):
        torch.testing.assert_close(gradient, slope)


@pytest.mark.parametrize("kernel", ["reference", "chunked"])
def test_what_does_not_fit_together_is_refused_for_hidden_states_too(kernel):
    hidden, weight, targets = torch.randn(4, 3), torch.randn(7, 3), torch.tensor([0, 1, 2, 3])
    criterion = criterion_of(kernel)
    with pytest.raises(ValueError, match=r"has 5 words, the student's 7"):
        criterion.forward_linear(hidden, weight, hidden, torch.randn(5, 3), targets)
    with pytest.raises(ValueError, match="not both"):
        criterion.forward_linear(
            hidden, weight, hidden, weight, targets, teacher_logits=torch.randn(4, 7)
        )
    with pytest.raises(ValueError, match="teacher is missing"):
        criterion.forward_linear(hidden, weight, targets=targets)
    with pytest.raises(ValueError, match="targets are missing"):
        criterion.forward_linear(hidden, weight, hidden, weight)
    with pytest.raises(ValueError, match="outside the vocabulary of 7"):
        criterion.forward_linear(hidden, weight, hidden, weight, targets + 5)


def test_cross_entropy_from_hidden_states_ignores_a_teacher_that_is_given():
    hidden, weight, targets = torch.randn(4, 3), torch.randn(7, 3), torch.tensor([0, 1, 2, 3])
    output = CrossEntropy().forward_linear(hidden, weight, hidden, weight, targets)
    expected = torch.nn.functional.cross_entropy(hidden @ weight.T, targets, reduction="sum")
    torch.testing.assert_close(output.loss, expected)
