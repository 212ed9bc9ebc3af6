"""How exact the fast paths are, against float64 of the same inputs.

Bounds are relative, with a floor that no fp32 computation can go below: where student and target
nearly agree, their difference is smaller than the rounding of the probabilities themselves.
"""

from functools import partial

import pytest
import torch
from forward_kl_rows import exact, straining_rows

from sekd_plugin import SelfEvolutionKD
from sekd_plugin.kernels import passes
from sekd_plugin.kernels.fused import ChunkBytes
from sekd_plugin.kernels.streamed import StreamedRows

WORDS = 8000
FLOOR = 3e-7


def random_rows(dtype, scale):
    torch.manual_seed(int(scale))
    return [(torch.randn(6, WORDS) * scale).to(dtype) for _ in range(2)]


def close_rows(dtype, step):
    torch.manual_seed(7)
    teacher = (torch.randn(6, WORDS) * 4).to(dtype)
    return (teacher.float() + step * torch.randn(6, WORDS)).to(dtype), teacher


ROWS = {
    **{f"random, of size {size}": partial(random_rows, scale=size) for size in (1, 4, 12)},
    **{f"{step} apart": partial(close_rows, step=step) for step in (1.0, 0.1, 1e-2, 1e-4)},
    "straining": lambda dtype: straining_rows(257, dtype)[:2],
}


def by_logits(criterion, student, teacher, targets):
    leaf = student.clone().requires_grad_()
    output = criterion(leaf, teacher, targets)
    return output, torch.autograd.grad(output.loss, leaf)[0]


def by_hidden_states(criterion, student, teacher, targets):
    leaf = student.clone().requires_grad_()
    weight = torch.eye(student.shape[1], dtype=student.dtype)
    output = criterion.forward_linear(leaf, weight, targets=targets, teacher_logits=teacher)
    return output, torch.autograd.grad(output.loss, leaf)[0]


def by_streams(criterion, student, teacher, targets):
    gradient = torch.empty_like(student)
    kernel = StreamedRows(criterion, passes, hard_scale=1.0)
    decide = criterion.threshold.decide
    return kernel.losses(student, teacher, targets, decide, gradient), gradient


@pytest.mark.parametrize("path", [by_logits, by_hidden_states, by_streams])
@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("teacher_weight", [0.5, 1.0])
@pytest.mark.parametrize("gamma", [0.0, 1e9], ids=["hard", "easy"])
def test_losses_difficulties_and_gradients_are_exact_to_rounding(
    path, rows, dtype, teacher_weight, gamma
):
    student, teacher = ROWS[rows](dtype)
    if path is by_hidden_states and (rows == "straining" or student.shape[1] > 1000):
        # A projection by the identity multiplies infinities by zeros, and is large.
        student, teacher = (each[:, :250].clamp(min=-1e4) for each in (student, teacher))
    targets = teacher.float().argmax(-1)
    criterion = SelfEvolutionKD(
        teacher_weight=teacher_weight, threshold={"name": "fixed", "config": {"gamma": gamma}}
    )
    criterion.chunk_bytes = ChunkBytes(cache_bytes=4 * WORDS * 2)
    output, gradient = path(criterion, student, teacher, targets)
    wanted = exact(student, teacher, targets, output.hard, teacher_weight=teacher_weight, beta=0.5)
    for name in ("difficulty", "token_loss"):
        found = getattr(output, name).detach()
        assert found.dtype == torch.float32
        error = (found.double() - wanted[name]).abs().nan_to_num(nan=0.0)
        assert (error <= 2e-6 * wanted[name].abs() + FLOOR).all(), name
        assert (found >= -1e-6).all()
    assert gradient.dtype == dtype
    slope = wanted["gradient"]
    error = (gradient.double() - slope).abs()
    if dtype == torch.float32:
        bound = 1e-5 * slope.abs().amax(-1, keepdim=True) + FLOOR
    else:  # half a unit in the last of bf16's eight digits, and what fp32 came to
        bound = 2**-8 * slope.abs() + 1e-5 * slope.abs().amax(-1, keepdim=True) + FLOOR
    assert (error <= bound).all()
