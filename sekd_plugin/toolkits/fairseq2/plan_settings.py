"""From a recipe and a cluster to the settings of a memory plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from fairseq2.recipe.config import ModelSection, ReferenceModelSection
from fairseq2.runtime.dependency import DependencyResolver

from sekd_plugin.checks import at_least
from sekd_plugin.errors import ConfigError
from sekd_plugin.kernels.fused import ChunkBytes
from sekd_plugin.memory.settings import (
    BatchPlan,
    Cluster,
    LossPlan,
    OptimizerKind,
    OptimizerPlan,
    PlannedModel,
    PlanSettings,
    Precision,
    StepKind,
)
from sekd_plugin.toolkits.fairseq2.model_config import model_config
from sekd_plugin.toolkits.fairseq2.model_kind import ModelKind
from sekd_plugin.toolkits.fairseq2.model_kinds import check_same_kind, kind_of_class
from sekd_plugin.toolkits.fairseq2.model_shape import model_shape
from sekd_plugin.toolkits.fairseq2.sections import TrainingConfig

_STEPS: Mapping[object, StepKind] = {
    "foreach": "foreach",
    True: "foreach",
    "fused": "fused",
    "naive": "one_by_one",
    False: "one_by_one",
}


def plan_settings(
    config: TrainingConfig,
    resolver: DependencyResolver,
    *,
    devices: int,
    devices_per_node: int | None = None,
    on_gpu: bool = True,
) -> PlanSettings:
    """What the recipe amounts to on so many devices, as fairseq2 would set it up.

    Args:
        config: the recipe.
        resolver: where model families are looked up.
        devices: how many devices, one process each.
        devices_per_node: how many of them share a machine; hybrid sharding needs it.
        on_gpu: GPUs, or CPUs.

    Raises:
        ConfigError: a model cannot be planned, or the devices cannot be divided as it asks.
    """
    at_least("--devices", devices, 1)
    at_least("dataset.batch_tokens", config.dataset.batch_tokens, 1)
    notes: list[str] = []
    cluster = _cluster(config, devices, devices_per_node, on_gpu, notes)
    teacher = None
    if config.teacher is not None and config.teacher_cache is None:
        teacher = _planned("teacher", config.teacher, resolver)
    student = _planned("model", config.model, resolver)
    for key, model in (("model", student), ("teacher", teacher)):
        if model is not None and cluster.tensor_parallel > 1 and _divides_tied(model):
            raise ConfigError(
                f"{key}.config_overrides.tied_embeddings",
                "must be false where gang.tensor_parallel_size is more than 1",
            )
    largest = _kind(config, resolver).batches.largest(config.dataset)
    accumulation = config.trainer.grad_accumulation
    checkpointing = config.trainer.activation_checkpointing
    chunks = ChunkBytes()
    return PlanSettings(
        student=student,
        teacher=teacher,
        precision=_precision(config, cluster, student, notes),
        cluster=cluster,
        optimizer=_optimizer(config, on_gpu),
        batch=BatchPlan(
            tokens=largest.tokens,
            sources=largest.sources,
            longest=largest.longest,
            accumulates=accumulation.num_batches > 1,
            unreduced=accumulation.no_sync,
            checkpoint_every=checkpointing.every_nth_layer
            if checkpointing.mode == "layerwise"
            else None,
        ),
        loss=LossPlan(
            fused=config.criterion.kernel != "reference",
            logits_bytes=chunks.logits_bytes,
            cache_bytes=chunks.cache_bytes,
        ),
        validates=bool(config.dataset.valid),
        notes=tuple(notes),
    )


def _kind(config: TrainingConfig, resolver: DependencyResolver) -> ModelKind:
    """The kind of both models."""
    family, _ = model_config("model", config.model, resolver)
    kind = kind_of_class("model", family.kls)
    if config.teacher is not None:
        family, _ = model_config("teacher", config.teacher, resolver)
        check_same_kind(kind, kind_of_class("teacher", family.kls))
    return kind


def _divides_tied(model: PlannedModel) -> bool:
    """Whether ranks would divide a table that is both embedding and output projection."""
    return model.shape.tied and model.shape.output.divided is not None


def _planned(
    key: str, section: ModelSection | ReferenceModelSection, resolver: DependencyResolver
) -> PlannedModel:
    return PlannedModel(
        shape=model_shape(key, section, resolver), weight_bytes=section.dtype.itemsize
    )


def _cluster(
    config: TrainingConfig,
    devices: int,
    devices_per_node: int | None,
    on_gpu: bool,
    notes: list[str],
) -> Cluster:
    divided = config.gang.tensor_parallel_size
    if devices % divided:
        raise ConfigError(
            "gang.tensor_parallel_size", f"{divided} does not divide the {devices} devices"
        )
    fsdp = config.trainer.fsdp
    shards = 1
    if config.trainer.data_parallelism == "fsdp":
        shards = devices // divided
        if fsdp.hybrid:
            shards = _hybrid_shards(devices, divided, devices_per_node, notes)
    return Cluster(
        data_parallel=devices // divided,
        tensor_parallel=divided,
        shards=shards,
        granularity=fsdp.granularity,
        reshard=fsdp.reshard_after_forward,
        on_gpu=on_gpu,
    )


def _hybrid_shards(
    devices: int, divided: int, devices_per_node: int | None, notes: list[str]
) -> int:
    """Hybrid sharding shards within a machine, and replicates over machines."""
    key = "trainer.fsdp.hybrid"
    if divided > 1:
        raise ConfigError(key, "must be false where gang.tensor_parallel_size is more than 1")
    if devices_per_node is None:
        raise ConfigError(key, "shards within a machine; say with --devices-per-node how large")
    at_least("--devices-per-node", devices_per_node, 1)
    if devices % devices_per_node:
        raise ConfigError(
            "--devices-per-node", f"{devices_per_node} does not divide the {devices} devices"
        )
    if devices_per_node == 1:
        notes.append(f"{key} has no effect with one device in a machine; nothing is sharded")
    return devices_per_node


def _precision(
    config: TrainingConfig, cluster: Cluster, student: PlannedModel, notes: list[str]
) -> Precision:
    """What fairseq2 makes of ``trainer.mixed_precision``.

    Static mixed precision is sharding's own; without sharding it becomes autocast, but where the
    recipe asks for sharding and tensor parallelism leaves no ranks to shard over, it is lost.
    """
    mixed, full = config.trainer.mixed_precision, student.weight_bytes
    wants_sharding = config.trainer.data_parallelism == "fsdp"
    narrow, scaled = mixed.dtype.itemsize, mixed.dtype == torch.float16
    if mixed.mode == "off" or mixed.dtype == torch.float32:
        scaled = config.model.dtype == torch.float16
        return Precision(compute_bytes=full, reduce_bytes=full, scaled_loss=scaled)
    if mixed.mode == "auto" or not wants_sharding or cluster.devices == 1:
        return Precision(compute_bytes=narrow, autocast=True, reduce_bytes=full, scaled_loss=scaled)
    if cluster.shards == 1:
        notes.append(
            "trainer.mixed_precision.mode: static has no effect, because there is nothing to "
            f"shard; everything is computed in {full} bytes. Use auto"
        )
        return Precision(compute_bytes=full, reduce_bytes=full, scaled_loss=scaled)
    reduced = 4 if config.trainer.fsdp.fp32_reduce else narrow
    return Precision(compute_bytes=narrow, reduce_bytes=reduced, scaled_loss=scaled)


def _optimizer(config: TrainingConfig, on_gpu: bool) -> OptimizerPlan:
    settings = cast("Mapping[str, object]", config.optimizer.config or {})
    kind = cast("OptimizerKind", config.optimizer.name)
    # Torch's own choice: AdamW goes over all parameters at once on a GPU, Adafactor never.
    by_itself: StepKind = "foreach" if kind == "adamw" and on_gpu else "one_by_one"
    asked = settings.get("impl" if kind == "adamw" else "foreach")
    return OptimizerPlan(
        kind=kind,
        num_averages=3 if settings.get("amsgrad") else 2,
        step=_STEPS.get(asked, by_itself),
    )
