"""The loss from hidden states, whatever the output projection does, against plain float64 torch."""

import math

import pytest
import torch
from method_cases import build, define
from method_definition import method

from sekd_plugin import CrossEntropy, SelfEvolutionKD
from sekd_plugin.kernels.fused import ChunkBytes
from sekd_plugin.kernels.projection import ChunkRoom, Projection

SETTINGS = {
    "teacher_weight": 0.6,
    "beta": 0.7,
    "gamma": 1.0,
    "temperature": 1.5,
    "divergence": "forward_kl",
    "difficulty": None,
    "proxy": "linear",
}
TOP = {"name": "top_k", "config": {"ratio": 0.4}}


def hidden_batch(rows=11, words=9, dtype=torch.float64):
    torch.manual_seed(3)
    return {
        "student": torch.randn(rows, 5, dtype=dtype),
        "weight": torch.randn(words, 5, dtype=dtype),
        "bias": torch.randn(words, dtype=dtype),
        "teacher": torch.randn(rows, 3, dtype=dtype),
        "teacher_weight": torch.randn(words + 3, 3, dtype=dtype),
        "teacher_bias": torch.randn(words + 3, dtype=dtype),
        "targets": torch.randint(0, words, (rows,)),
    }


def logits_of(hidden, weight, bias, scale, cap):
    logits = scale * (hidden @ weight.T + bias)
    return logits if cap is None else cap * torch.tanh(logits / cap)


@pytest.mark.parametrize("kernel", ["chunked", "reference"])
@pytest.mark.parametrize("divergence", ["forward_kl", "reverse_kl"])
@pytest.mark.parametrize(("scale", "cap"), [(1.0, None), (0.25, None), (1.0, 2.0), (3.0, 1.5)])
def test_scale_and_soft_cap_are_part_of_loss_and_gradient(scale, cap, divergence, kernel):
    given = hidden_batch()
    leaves = [given[name].requires_grad_() for name in ("student", "weight", "bias")]
    settings = {**SETTINGS, "divergence": divergence}
    words = given["weight"].shape[0]
    teacher = logits_of(given["teacher"], given["teacher_weight"], given["teacher_bias"], 0.5, 4.0)[
        :, :words
    ]
    difficulty, hard, losses = define(
        settings, logits_of(*leaves, scale, cap), teacher, given["targets"]
    )
    expected = torch.autograd.grad(losses.sum(), leaves)

    output = build(settings, kernel).forward_linear(
        leaves[0],
        leaves[1],
        given["teacher"],
        given["teacher_weight"],
        given["targets"],
        student_bias=leaves[2],
        teacher_bias=given["teacher_bias"],
        student_logit_scale=scale,
        student_soft_cap=cap,
        teacher_logit_scale=0.5,
        teacher_soft_cap=4.0,
    )
    assert torch.equal(output.hard, hard)
    torch.testing.assert_close(output.difficulty, difficulty)
    torch.testing.assert_close(output.token_loss, losses.detach())
    for gradient, wanted in zip(torch.autograd.grad(output.loss, leaves), expected, strict=True):
        torch.testing.assert_close(gradient, wanted)


@pytest.mark.parametrize("cap", [0.0, -1.0, math.inf])
def test_a_soft_cap_is_a_positive_number(cap):
    given = hidden_batch()
    with pytest.raises(ValueError, match="soft_cap"):
        CrossEntropy().forward_linear(
            given["student"], given["weight"], targets=given["targets"], student_soft_cap=cap
        )


@pytest.mark.parametrize("threshold", ["dynamic", TOP])
@pytest.mark.parametrize("learning", [("student",), ("weight",), ("bias",), ("student", "bias")])
def test_what_is_frozen_gets_no_gradient_and_the_rest_its_own(learning, threshold):
    def run(names):
        given = hidden_batch()
        leaves = [given[name].requires_grad_() for name in names]
        criterion = SelfEvolutionKD(threshold=threshold)
        criterion.chunk_bytes = ChunkBytes(logits_bytes=200, cache_bytes=80)
        output = criterion.forward_linear(
            given["student"],
            given["weight"],
            given["teacher"],
            given["teacher_weight"],
            given["targets"],
            student_bias=given["bias"],
        )
        return dict(zip(names, torch.autograd.grad(output.loss, leaves), strict=True))

    everything, some = run(("student", "weight", "bias")), run(learning)
    for name in learning:
        torch.testing.assert_close(some[name], everything[name])


def test_a_weight_tied_to_the_embeddings_gets_the_sum_of_both_gradients():
    given = hidden_batch()
    words = torch.tensor([1, 3, 3, 0])
    targets = given["targets"][:4]

    def run(weight, fused):
        hidden = torch.nn.functional.embedding(words, weight).tanh()
        criterion = CrossEntropy()
        if fused:
            return criterion.forward_linear(hidden, weight, targets=targets).loss
        return torch.nn.functional.cross_entropy(hidden @ weight.T, targets, reduction="sum")

    weight = given["weight"].requires_grad_()
    (expected,) = torch.autograd.grad(run(weight, fused=False), weight)
    (gradient,) = torch.autograd.grad(run(weight, fused=True), weight)
    torch.testing.assert_close(gradient, expected)


def test_gradients_of_a_bf16_weight_are_summed_in_fp32():
    torch.manual_seed(0)
    rows, words, size = 512, 40, 16
    hidden = torch.randn(rows, size).bfloat16()
    weight = torch.randn(words, size).bfloat16().requires_grad_()
    teacher, targets = torch.randn(rows, words), torch.randint(0, words, (rows,))
    criterion = SelfEvolutionKD(threshold={"name": "fixed", "config": {"gamma": 3.0}})
    criterion.chunk_bytes = ChunkBytes(logits_bytes=4 * words * 4)
    output = criterion.forward_linear(hidden, weight, targets=targets, teacher_logits=teacher)
    (gradient,) = torch.autograd.grad(output.loss, weight)
    assert gradient.dtype == torch.bfloat16

    wide = weight.detach().double().requires_grad_()
    _, _, losses = method(
        hidden.double() @ wide.T,
        teacher.double(),
        targets,
        hard=output.hard,
        gamma=3.0,
        teacher_weight=0.5,
        beta=0.5,
    )
    (exact,) = torch.autograd.grad(losses.sum(), wide)
    # 128 chunks added up in bf16 would be off by several per cent.
    error = (gradient.double() - exact).norm() / exact.norm()
    assert error < 0.006


def test_states_in_half_precision_meet_a_weight_kept_in_fp32():
    torch.manual_seed(0)
    hidden = torch.randn(30, 8).bfloat16().requires_grad_()
    weight = torch.randn(20, 8).requires_grad_()
    targets = torch.randint(0, 20, (30,))
    output = CrossEntropy().forward_linear(hidden, weight, targets=targets)
    by_hidden, by_weight = torch.autograd.grad(output.loss, (hidden, weight))
    assert by_hidden.dtype == torch.bfloat16 and by_weight.dtype == torch.float32
    logits = hidden.float() @ weight.bfloat16().float().T
    expected = torch.nn.functional.cross_entropy(logits, targets, reduction="sum")
    torch.testing.assert_close(output.loss, expected, rtol=5e-3, atol=0.0)
    (exact,) = torch.autograd.grad(expected, weight)
    assert (by_weight - exact).norm() / exact.norm() < 0.01


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("scale", [1.0, 0.25])
@pytest.mark.parametrize("soft_cap", [None, 2.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_logits_in_a_used_room_are_the_same(bias, scale, soft_cap, dtype):
    torch.manual_seed(1)
    projection = Projection(
        weight=torch.randn(7, 4).to(dtype),
        bias=torch.randn(7) if bias else None,
        scale=scale,
        soft_cap=soft_cap,
    )
    room = ChunkRoom()
    blocks = set()
    for count in (5, 3, 5):
        states = torch.randn(count, 4).to(dtype)
        found = projection.logits(states, room)
        torch.testing.assert_close(found, projection.logits(states), rtol=1e-6, atol=1e-6)
        blocks.add(found.untyped_storage().data_ptr())
    assert len(blocks) == 1


def test_a_room_grows_and_changes_its_dtype_as_it_is_asked_to():
    room, like = ChunkRoom(), torch.zeros(1)
    small = room.take(2, 3, like, torch.float32)
    large = room.take(4, 3, like, torch.float32)
    assert small.shape == (2, 3) and large.shape == (4, 3)
    assert room.take(1, 3, like, torch.float64).dtype == torch.float64
