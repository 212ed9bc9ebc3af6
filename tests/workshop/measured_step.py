"""A training step of tiny models on a CPU, measured tensor by tensor, and the plan of it."""

import json

import torch
import torch.distributed as dist
from fairseq2.datasets import SequenceBatch
from fairseq2.gang import create_fake_gangs
from fairseq2.models import ModelFamily
from fairseq2.recipe.config import ModelSection
from fairseq2.runtime.dependency import get_dependency_resolver
from live_bytes import LiveBytes
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.optim import AdamW

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
from sekd_plugin.toolkits.fairseq2.distillation import Distillation
from sekd_plugin.toolkits.fairseq2.model_config import model_config
from sekd_plugin.toolkits.fairseq2.model_kinds import kind_of_class
from sekd_plugin.toolkits.fairseq2.model_shape import model_shape
from sekd_plugin.toolkits.fairseq2.sequence_to_sequence.batch import collate_pairs
from sekd_plugin.toolkits.fairseq2.sequence_to_sequence.kind import ENCODER_DECODER
from sekd_plugin.toolkits.fairseq2.teacher import LiveTeacher

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
    "llama with dropout": {"pad_idx": 3, "ffn_inner_dim_multiple_of": 8, "dropout_p": 0.1},
    "qwen": {"q_norm": True, "k_norm": True, "head_dim": 24},
    "mistral": {"pad_idx": 3, "attn_window_len": 16},
    "olmo": {"pad_idx": 3, "sliding_window": 16},
}
PAIR_SHAPE = {
    "model_dim": 64,
    "max_seq_len": 128,
    "vocab_size": 600,
    "num_encoder_layers": 3,
    "num_decoder_layers": 4,
    "num_encoder_attn_heads": 4,
    "num_decoder_attn_heads": 2,
    "ffn_inner_dim": 192,
}
PAIR_FAMILIES = {"nllb": {"dropout_p": 0.0}, "nllb with dropout": {"dropout_p": 0.1}}
SHARDED = (
    ("llama", None, {"num_layers": 6}),
    ("llama", 1, {"num_layers": 6}),
    ("nllb", 1, {"num_encoder_layers": 2, "num_decoder_layers": 3}),
)
"""What is sharded: a family, which layers are computed again, and how many there are."""
CHUNKS = ChunkBytes(logits_bytes=2**16, cache_bytes=2**14)
SENTENCES, LONGEST, PROMPT = 8, 48, 9
"""A padded batch; its prompts are no targets."""


def made(name, dtype=torch.float32, **overrides):
    """A model of fairseq2, and how it is planned."""
    resolver = get_dependency_resolver()
    family = name.split()[0]
    settings = PAIR_SHAPE | PAIR_FAMILIES[name] if name in PAIR_FAMILIES else SHAPE | FAMILIES[name]
    section = ModelSection(family=family, config_overrides=settings | overrides)
    model = resolver.resolve(ModelFamily, key=family).create_new_model(
        model_config("model", section, resolver)[1],
        create_fake_gangs(torch.device("cpu")),
        dtype,
        meta=False,
        init_rank0_only=True,
    )
    shape = model_shape("model", section, resolver)
    kind_of_class("model", type(model)).make_student(model)
    return model, PlannedModel(shape=shape, weight_bytes=dtype.itemsize)


def a_teacher(name, dtype=torch.float32, **overrides):
    """A model of the same family with fewer layers, and how it is planned."""
    layers = "num_decoder_layers" if name in PAIR_FAMILIES else "num_layers"
    return made(name, dtype, **{layers: 3}, **overrides)


def batch():
    """Eight sentences, one of them padded."""
    torch.manual_seed(1)
    seqs = torch.randint(4, SHAPE["vocab_size"], (SENTENCES, LONGEST + 1))
    mask = torch.ones_like(seqs, dtype=torch.bool)
    mask[:, : PROMPT + 1] = False
    lengths = [LONGEST + 1] * (SENTENCES - 1) + [LONGEST - 6]
    examples = [("corpus", line) for line in range(SENTENCES)]
    return SequenceBatch(seqs, lengths, target_mask=mask, example=examples)


def pair_batch():
    """Eight pairs, one of them padded on both sides; all of the targets but a prefix is learnt."""
    torch.manual_seed(1)
    lengths = [LONGEST] * (SENTENCES - 1) + [LONGEST - 6]
    sources, targets = (
        [torch.randint(4, PAIR_SHAPE["vocab_size"], (length,)).tolist() for length in lengths]
        for _ in range(2)
    )
    places = [("corpus", line) for line in range(SENTENCES)]
    return collate_pairs(
        sources,
        [target[1:] for target in targets],
        prefixes=[[2, 3]] * SENTENCES,
        pad_index=0,
        places=places,
    )


class Measured:
    """Two training steps; the second is what was measured, after the optimizer has its state."""

    def __init__(self, student, teacher, optimizer, autocast=False, sharded=False):
        criterion = SelfEvolutionKD(threshold={"name": "fixed", "config": {"gamma": 1.0}})
        criterion.chunk_bytes = CHUNKS
        criterion.gather_over_ranks = False
        teacher.requires_grad_(False).eval()
        kind = kind_of_class("teacher", type(teacher))
        distillation = Distillation(
            student, LiveTeacher(teacher, kind.run_teacher), criterion, kind.batches
        )
        given = pair_batch() if kind is ENCODER_DECODER else batch()
        with LiveBytes(resizing=sharded) as live:
            for model in (student, teacher):
                live.count([*model.parameters(), *model.buffers()])
            for _ in range(2):
                state = live.now
                live.restart()
                with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                    loss, output = distillation(given)
                self.forward = live.peak
                del output
                live.restart()
                loss.backward()
                self.backward = live.peak
                del loss
                self.gradients = live.now - state
                live.restart()
                optimizer.step()
                self.step = live.peak
                optimizer.zero_grad(set_to_none=True)
                criterion.step()


def plan_of(student, teacher, optimizer, every=None, precision=None, ranks=1, accumulates=False):
    """The plan of a step on that batch."""
    return make_plan(
        PlanSettings(
            student=student,
            teacher=teacher,
            precision=precision or Precision(compute_bytes=student.weight_bytes),
            cluster=Cluster(on_gpu=False, data_parallel=ranks, shards=ranks),
            optimizer=optimizer,
            batch=BatchPlan(
                tokens=SENTENCES * LONGEST,
                sources=SENTENCES * LONGEST if len(student.shape.stacks) > 1 else 0,
                longest=LONGEST,
                checkpoint_every=every,
                accumulates=accumulates,
            ),
            loss=LossPlan(logits_bytes=CHUNKS.logits_bytes, cache_bytes=CHUNKS.cache_bytes),
        )
    )


def moments(plan):
    """The moments of a plan by their names."""
    return {moment.name: moment for moment in plan.moments}


def compute_again(student, name, every):
    """Have every so many layers forget their activations."""
    if every is not None:
        resolver = get_dependency_resolver()
        resolver.resolve(ModelFamily, key=name.split()[0]).apply_layerwise_ac(student, every)


def forward(plan):
    """The most that is planned until the loss is there."""
    return max(plan["teacher"].total, plan["loss"].total)


def backward(plan):
    """The most that is planned from the loss to the gradients."""
    moments = ("backward", "decoder done", "last gradients")
    return max(plan[name].total for name in moments if name in plan)


def shard(model, family):
    """Shard a model as fairseq2 does: layer by layer, over all processes, computing in bf16."""
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    policy = MixedPrecisionPolicy(torch.bfloat16, torch.float32)

    def wrap(module, reshard_after_forward=None):
        reshard = reshard_after_forward is None
        return fully_shard(module, mesh=mesh, reshard_after_forward=reshard, mp_policy=policy)

    resolver = get_dependency_resolver()
    resolver.resolve(ModelFamily, key=family).apply_fsdp(model, "layer", wrap)
    wrap(model, reshard_after_forward=False)


def measure_sharded(family, every, **layers):
    """What was measured on this rank, and what is planned for it, in bytes."""
    torch.manual_seed(2)
    student, planned = made(family, **layers)
    teacher, planned_teacher = a_teacher(family, torch.bfloat16)
    compute_again(student, family, every)
    shard(student, family)
    measured = Measured(student, teacher, AdamW(student.parameters()), sharded=True)
    plan = moments(
        plan_of(
            planned,
            planned_teacher,
            OptimizerPlan(step="one_by_one"),
            every,
            Precision(compute_bytes=2),
            dist.get_world_size(),
        )
    )
    return {
        "forward": [measured.forward, forward(plan)],
        "backward": [measured.backward, backward(plan)],
        "gradients": [measured.gradients, plan["step"].parts["gradients"]],
    }


def measure_all_sharded():
    """Print, on the first rank, a JSON line of what was measured and planned; for every rank."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    found = {
        f"{family}, {every}": measure_sharded(family, every, **layers)
        for family, every, layers in SHARDED
    }
    if dist.get_rank() == 0:
        print(json.dumps(found), flush=True)
    dist.destroy_process_group()
    return 0
