"""A plan beside a training step that was measured, tensor by tensor, on a CPU."""

import json

import pytest
import torch
from forked_training import fork_work
from measured_step import (
    FAMILIES,
    LONGEST,
    SENTENCES,
    SHAPE,
    Measured,
    a_teacher,
    backward,
    batch,
    compute_again,
    forward,
    made,
    measure_all_sharded,
    moments,
    plan_of,
)
from torch.optim import Adafactor, AdamW

from sekd_plugin.memory.settings import OptimizerPlan, Precision


@pytest.mark.parametrize(
    ("family", "every"),
    [
        *((family, every) for family in FAMILIES for every in (None, 1, 3)),
        ("nllb", None),
        ("nllb", 1),
        ("nllb with dropout", 3),
    ],
)
def test_a_plan_is_what_a_step_takes(family, every):
    student, planned = made(family)
    teacher, planned_teacher = a_teacher(family)
    compute_again(student, family, every)

    measured = Measured(student, teacher, AdamW(student.parameters()))
    plan = moments(plan_of(planned, planned_teacher, OptimizerPlan(step="one_by_one"), every))

    assert forward(plan) == pytest.approx(measured.forward, rel=0.02)
    assert measured.backward <= backward(plan) <= 1.12 * measured.backward
    assert plan["step"].total == pytest.approx(measured.step, rel=0.001)
    assert plan["step"].parts["gradients"] == measured.gradients


class Accumulating(AdamW):
    """Leaves the gradients of the batch before."""

    def zero_grad(self, set_to_none=True):
        pass


@pytest.mark.parametrize(
    ("family", "dtype", "accumulates", "sizes"),
    [
        (
            "llama",
            torch.bfloat16,
            False,
            {"num_layers": 2, "tied_embeddings": True, "shard_embed_dim": False},
        ),
        ("nllb", torch.float32, True, {"num_encoder_layers": 2, "num_decoder_layers": 2}),
    ],
)
def test_a_plan_holds_where_the_gradient_of_a_tied_table_is_most_of_a_step(
    family, dtype, accumulates, sizes
):
    """It is summed from the projection's and that of each reading, each as large as the table."""
    student, planned = made(family, dtype, vocab_size=8000, **sizes)
    teacher, planned_teacher = made(family, dtype, vocab_size=8000, **sizes)
    compute_again(student, family, 1)

    optimizer = (Accumulating if accumulates else AdamW)(student.parameters())
    measured = Measured(student, teacher, optimizer)
    precision = Precision(compute_bytes=dtype.itemsize)
    step = OptimizerPlan(step="one_by_one")
    plan = moments(plan_of(planned, planned_teacher, step, 1, precision, accumulates=accumulates))

    assert measured.backward <= backward(plan) <= 1.12 * measured.backward


@pytest.mark.parametrize("autocast", [True, False])
def test_in_half_precision_a_plan_of_an_encoder_decoder_is_as_near(autocast):
    student, planned = made("nllb", torch.float32 if autocast else torch.bfloat16)
    teacher, planned_teacher = a_teacher("nllb", torch.bfloat16)
    precision = Precision(compute_bytes=2, autocast=autocast)

    measured = Measured(student, teacher, AdamW(student.parameters()), autocast)
    plan = moments(plan_of(planned, planned_teacher, OptimizerPlan(), None, precision))

    assert forward(plan) == pytest.approx(measured.forward, rel=0.02)
    assert measured.backward <= backward(plan) <= 1.12 * measured.backward


@pytest.mark.parametrize("every", [None, 1])
@pytest.mark.parametrize("family", ["llama", "qwen", "olmo"])
@pytest.mark.parametrize("autocast", [True, False])
def test_in_half_precision_a_plan_is_at_most_a_sixth_above_what_a_step_takes(
    family, autocast, every
):
    student, planned = made(family, torch.float32 if autocast else torch.bfloat16)
    teacher, planned_teacher = a_teacher(family, torch.bfloat16)
    compute_again(student, family, every)
    precision = Precision(compute_bytes=2, autocast=autocast)

    measured = Measured(student, teacher, AdamW(student.parameters()), autocast)
    plan = moments(plan_of(planned, planned_teacher, OptimizerPlan(), every, precision))

    assert measured.forward <= forward(plan) <= 1.08 * measured.forward
    assert measured.backward <= backward(plan) <= 1.17 * measured.backward


@pytest.mark.parametrize(
    ("kind", "settings", "plan"),
    [
        (AdamW, {}, OptimizerPlan()),
        (AdamW, {"amsgrad": True}, OptimizerPlan(num_averages=3)),
        (Adafactor, {}, OptimizerPlan(kind="adafactor")),
    ],
)
def test_weights_gradients_and_optimizer_are_planned_to_the_byte(kind, settings, plan):
    student, student_shape = made("qwen")
    teacher, teacher_shape = made("llama")
    optimizer = kind(student.parameters(), **settings)
    for parameter in student.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()

    loss = moments(plan_of(student_shape, teacher_shape, plan))["loss"].parts
    last = moments(plan_of(student_shape, teacher_shape, plan))["last gradients"].parts

    kept = [value for state in optimizer.state.values() for value in state.values()]
    assert loss["optimizer"] == size([value for value in kept if torch.is_tensor(value)])
    assert loss["student weights"] == size([*student.parameters(), *student.buffers()])
    assert loss["teacher weights"] == size([*teacher.parameters(), *teacher.buffers()])
    assert last["gradients"] == size([value.grad for value in student.parameters()])


def size(tensors):
    """Bytes of tensors, each counted once."""
    return sum(tensor.nbytes for tensor in {id(tensor): tensor for tensor in tensors}.values())


def test_what_the_forward_pass_keeps_is_planned_to_a_hundredth():
    """Counted as autograd packs it away; the loss keeps its finished gradients by itself."""
    student, shape = made("llama")
    seqs, layout = batch().as_auto_regressive()[0].as_input()
    own = {value.untyped_storage()._cdata for value in [*student.parameters(), *student.buffers()]}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        student(seqs, layout, loss_of_states=lambda states, projection: states.sum())

    plan = moments(plan_of(shape, shape, OptimizerPlan()))["loss"].parts
    output = SENTENCES * LONGEST * SHAPE["model_dim"] * 4
    assert plan["activations, student"] - output == pytest.approx(
        sum(storage.nbytes() for storage in kept.values()), rel=0.01
    )


@pytest.mark.slow
def test_sharded_over_two_processes_a_plan_is_at_most_a_quarter_above_what_a_step_takes(tmp_path):
    output = fork_work(measure_all_sharded, tmp_path / "ranks.log", 2).output()
    (line,) = (line for line in output.splitlines() if line.startswith("{"))
    for student, figures in json.loads(line).items():
        for name in ("forward", "backward"):
            measured, planned = figures[name]
            assert 0.99 * measured <= planned <= 1.25 * measured, (student, name)
