"""A β that a schedule brings within rounding of 1 is no other case than any β."""

import pytest
import torch
from method_definition import method

from sekd_plugin import SelfEvolutionKD

ALL_HARD = {"name": "top_k", "config": {"ratio": 1.0}}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rest", [1e-6, 1e-8, 1e-10, 1e-12])
def test_the_closed_form_gives_the_defined_loss_however_near_beta_is_to_one(rest, dtype):
    student = torch.tensor([[2.0, 0.0, -200.0], [1.0, -1.0, 0.5]], dtype=dtype)
    teacher = torch.tensor([[0.0, 3.0, 1.0], [0.0, 1.0, 2.0]], dtype=dtype)
    targets = torch.tensor([1, 2])
    criterion = SelfEvolutionKD(beta=1.0 - rest, threshold=ALL_HARD)
    leaf = student.clone().requires_grad_(True)

    output = criterion(leaf, teacher, targets)
    (gradient,) = torch.autograd.grad(output.loss, leaf)

    exact = student.double().requires_grad_(True)
    _, _, losses = method(
        exact, teacher, targets, teacher_weight=0.5, beta=1.0 - rest, gamma=0.0, hard=[True, True]
    )
    (slope,) = torch.autograd.grad(losses.sum(), exact)
    # e^-200 is no number in fp32, so there q̂ = (1 − β)·ỹ: the same to rounding.
    torch.testing.assert_close(output.token_loss.double(), losses.detach(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradient.double(), slope, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kernel", ["reference", "chunked"])
def test_a_word_the_student_rules_out_leaves_the_loss_finite_to_the_schedules_last_step(kernel):
    schedule = {"start": 0.5, "end": 1.0, "num_steps": 50_000, "shape": "cosine"}
    criterion = SelfEvolutionKD(beta=schedule, threshold=ALL_HARD)
    criterion.kernel = kernel
    student = torch.tensor([[2.0, 0.0, float("-inf")]])
    for step in (49_900, 49_990, 49_999):
        criterion.num_steps = step
        leaf = student.clone().requires_grad_(True)
        output = criterion(leaf, torch.tensor([[0.0, 3.0, 1.0]]), torch.tensor([1]))
        (gradient,) = torch.autograd.grad(output.loss, leaf)
        assert torch.isfinite(output.loss) and torch.isfinite(gradient).all()
