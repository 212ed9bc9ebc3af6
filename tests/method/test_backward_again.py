"""A graph that is kept may be walked again: the gradient is the same, or refused, never wrong."""

import pytest
import torch

from sekd_plugin import SelfEvolutionKD


def loss_by_logits():
    torch.manual_seed(0)
    criterion = SelfEvolutionKD(threshold={"name": "fixed", "config": {"gamma": 1.0}})
    leaf = (torch.randn(5, 11) * 2).requires_grad_(True)
    return criterion(leaf, torch.randn(5, 11), torch.randint(0, 11, (5,))).loss, [leaf]


def loss_by_hidden_states():
    torch.manual_seed(0)
    criterion = SelfEvolutionKD(threshold={"name": "fixed", "config": {"gamma": 1.0}})
    hidden = torch.randn(5, 4).requires_grad_(True)
    weight = torch.randn(11, 4).requires_grad_(True)
    bias = torch.randn(11).requires_grad_(True)
    output = criterion.forward_linear(
        hidden,
        weight,
        targets=torch.randint(0, 11, (5,)),
        teacher_logits=torch.randn(5, 11),
        student_bias=bias,
    )
    return output.loss, [hidden, weight, bias]


LOSSES = pytest.mark.parametrize("make", [loss_by_logits, loss_by_hidden_states])


@LOSSES
def test_each_of_three_backward_passes_adds_the_same_gradient(make):
    loss, leaves = make()
    loss.backward(retain_graph=True)
    once = [leaf.grad.clone() for leaf in leaves]
    loss.backward(retain_graph=True)
    loss.backward()
    for leaf, gradient in zip(leaves, once, strict=True):
        torch.testing.assert_close(leaf.grad, 3 * gradient)


@LOSSES
def test_a_gradient_that_was_changed_in_place_is_not_handed_on_again(make):
    loss, leaves = make()
    for gradient in torch.autograd.grad(loss, leaves, retain_graph=True):
        gradient.mul_(10.0)
    with pytest.raises(RuntimeError, match="changed in place since; compute the loss again"):
        torch.autograd.grad(loss, leaves)


@pytest.mark.parametrize("path", ["logits", "hidden"])
def test_a_gradient_too_small_for_fp16_survives_when_the_loss_is_scaled(path):
    torch.manual_seed(0)
    words, scale = 20_000, 2.0**13
    hidden, weight = torch.randn(4, 8).half(), (torch.randn(words, 8) / 4).half()
    teacher, targets = torch.randn(4, words), torch.randint(0, words, (4,))
    criterion = SelfEvolutionKD(
        teacher_weight=1.0, threshold={"name": "fixed", "config": {"gamma": float("inf")}}
    )
    exact = (hidden.double() @ weight.double().T).requires_grad_(True)
    (expected,) = torch.autograd.grad(criterion(exact, teacher.double(), targets).loss, exact)
    if path == "logits":
        leaf = exact.detach().half().requires_grad_(True)
        (found,) = torch.autograd.grad(criterion(leaf, teacher, targets).loss * scale, leaf)
        assert ((expected * scale).abs() > 1e-6).float().mean() > 0.99
        assert (found != 0).float().mean() > 0.99
    else:
        leaf = hidden.clone().requires_grad_(True)
        output = criterion.forward_linear(leaf, weight, targets=targets, teacher_logits=teacher)
        (found,) = torch.autograd.grad(output.loss * scale, leaf)
        expected = expected @ weight.double()
    torch.testing.assert_close(found.double() / scale, expected, rtol=2e-2, atol=2e-6)
