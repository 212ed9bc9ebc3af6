"""A plan beside a training step that was measured, tensor by tensor, on a CPU."""

import pytest
import torch
from fairseq2.datasets import SequenceBatch
from fairseq2.gang import create_fake_gangs
from fairseq2.models import ModelFamily
from fairseq2.recipe.config import ModelSection
from fairseq2.runtime.dependency import get_dependency_resolver
from live_bytes import LiveBytes
from torch.optim import Adafactor, AdamW

from sekd_plugin import SelfEvolutionKD
from sekd_plugin.kernels.fused import ChunkBytes
from sekd_plugin.memory.plan import make_plan
from sekd_plugin.memory.settings import (
    BatchPlan,
    Cluster,
    LossPlan,
    OptimizerPlan,
    PlannedModel,
    PlanSettings,
    Precision,
)
from sekd_plugin.toolkits.fairseq2.model_shape import model_config, model_shape
from sekd_plugin.toolkits.fairseq2.student import make_student
from sekd_plugin.toolkits.fairseq2.teacher import LiveTeacher
from sekd_plugin.toolkits.fairseq2.units import Distillation

SHAPE = {
    "model_dim": 64,
    "max_seq_len": 128,
    "vocab_size": 600,
    "num_layers": 4,
    "num_attn_heads": 4,
    "num_key_value_heads": 2,
    "ffn_inner_dim": 192,
}
FAMILIES = {
    "llama": {"pad_idx": 3, "ffn_inner_dim_multiple_of": 8},
    "qwen": {"q_norm": True, "k_norm": True, "head_dim": 24},
    "mistral": {"pad_idx": 3, "attn_window_len": 16},
    "olmo": {"pad_idx": 3, "sliding_window": 16},
}
CHUNKS = ChunkBytes(logits_bytes=2**16, cache_bytes=2**14)
SENTENCES, LONGEST, PROMPT = 8, 48, 9
"""A padded batch; its prompts are no targets."""


def made(family, dtype=torch.float32, **overrides):
    """A model of fairseq2, and how it is planned."""
    resolver = get_dependency_resolver()
    section = ModelSection(family=family, config_overrides=SHAPE | FAMILIES[family] | overrides)
    model = resolver.resolve(ModelFamily, key=family).create_new_model(
        model_config("model", section, resolver),
        create_fake_gangs(torch.device("cpu")),
        dtype,
        meta=False,
        init_rank0_only=True,
    )
    shape = model_shape("model", section, resolver)
    return model, PlannedModel(shape=shape, weight_bytes=dtype.itemsize)


def batch():
    torch.manual_seed(1)
    seqs = torch.randint(4, SHAPE["vocab_size"], (SENTENCES, LONGEST + 1))
    mask = torch.ones_like(seqs, dtype=torch.bool)
    mask[:, : PROMPT + 1] = False
    lengths = [LONGEST + 1] * (SENTENCES - 1) + [LONGEST - 6]
    examples = [("corpus", line) for line in range(SENTENCES)]
    return SequenceBatch(seqs, lengths, target_mask=mask, example=examples)


class Measured:
    """Two training steps; the second is what was measured, after the optimizer has its state."""

    def __init__(self, student, teacher, optimizer, autocast=False):
        criterion = SelfEvolutionKD(threshold={"name": "fixed", "config": {"gamma": 1.0}})
        criterion.chunk_bytes = CHUNKS
        make_student(student)
        teacher.requires_grad_(False).eval()
        distillation = Distillation(student, LiveTeacher(teacher), criterion)
        given = batch()
        with LiveBytes() as live:
            for model in (student, teacher):
                live.count([*model.parameters(), *model.buffers()])
            for _ in range(2):
                self.state = live.now
                live.restart()
                with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                    loss, output = distillation(given)
                self.forward = live.peak
                del output
                live.restart()
                loss.backward()
                self.backward = live.peak
                del loss
                self.gradients = live.now - self.state
                live.restart()
                optimizer.step()
                self.step = live.peak
                optimizer.zero_grad(set_to_none=True)
                criterion.step()


def plan_of(student, teacher, optimizer, every=None, precision=None):
    """The plan of a step on that batch."""
    return make_plan(
        PlanSettings(
            student=student,
            teacher=teacher,
            precision=precision or Precision(compute_bytes=student.weight_bytes),
            cluster=Cluster(on_gpu=False),
            optimizer=optimizer,
            batch=BatchPlan(tokens=SENTENCES * LONGEST, longest=LONGEST, checkpoint_every=every),
            loss=LossPlan(logits_bytes=CHUNKS.logits_bytes, cache_bytes=CHUNKS.cache_bytes),
        )
    )


def moments(plan):
    return {moment.name: moment for moment in plan.moments}


@pytest.mark.parametrize("every", [None, 1, 3])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_plan_is_what_a_step_takes(family, every):
    student, planned = made(family)
    teacher, planned_teacher = made(family, num_layers=3)
    compute_again(student, family, every)

    measured = Measured(student, teacher, AdamW(student.parameters()))
    plan = moments(plan_of(planned, planned_teacher, OptimizerPlan(step="one_by_one"), every))

    assert forward(plan) == pytest.approx(measured.forward, rel=0.02)
    assert measured.backward <= backward(plan) <= 1.11 * measured.backward
    assert plan["step"].total == pytest.approx(measured.step, rel=0.001)
    assert plan["step"].parts["gradients"] == measured.gradients


@pytest.mark.parametrize("every", [None, 1])
@pytest.mark.parametrize("family", ["llama", "qwen", "olmo"])
@pytest.mark.parametrize("autocast", [True, False])
def test_in_half_precision_a_plan_is_at_most_a_sixth_above_what_a_step_takes(
    family, autocast, every
):
    student, planned = made(family, torch.float32 if autocast else torch.bfloat16)
    teacher, planned_teacher = made(family, torch.bfloat16, num_layers=3)
    compute_again(student, family, every)
    precision = Precision(compute_bytes=2, autocast=autocast)

    measured = Measured(student, teacher, AdamW(student.parameters()), autocast)
    plan = moments(plan_of(planned, planned_teacher, OptimizerPlan(), every, precision))

    assert measured.forward <= forward(plan) <= 1.08 * measured.forward
    assert measured.backward <= backward(plan) <= 1.17 * measured.backward


def compute_again(student, family, every):
    """Have every so many layers forget their activations."""
    if every is not None:
        resolver = get_dependency_resolver()
        resolver.resolve(ModelFamily, key=family).apply_layerwise_ac(student, every)


def forward(plan):
    """The most that is planned until the loss is there."""
    return max(plan["teacher"].total, plan["loss"].total)


def backward(plan):
    """The most that is planned from the loss to the gradients."""
    return max(plan["backward"].total, plan["last gradients"].total)


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
    make_student(student)
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
