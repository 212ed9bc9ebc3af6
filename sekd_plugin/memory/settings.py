"""What a plan is made from: two models, a batch, and how the devices share the work."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from sekd_plugin.memory.model_shape import ModelShape

Granularity = Literal["layer", "stack", "model"]
"""What is gathered at a time where parameters are sharded."""


@dataclass(frozen=True, kw_only=True)
class PlannedModel:
    """A model and how it is kept."""

    shape: ModelShape
    """Its shape."""

    weight_bytes: int
    """Bytes of a number of its parameters, as they are kept: 4 in fp32, 2 in bf16."""


@dataclass(frozen=True, kw_only=True)
class Precision:
    """What the student's forward and backward passes compute in."""

    compute_bytes: int
    """Bytes of a number in the large products."""

    autocast: bool = False
    """Whether each product casts its inputs (``torch.autocast``); hidden states between layers
    then stay in the weights' own type."""

    scaled_loss: bool = False
    """Whether the loss is scaled before the backward pass, as fp16 needs it."""

    reduce_bytes: int = 4
    """Bytes of a number in which sharded gradients are summed over the ranks."""


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """How devices share the work: devices = tensor_parallel × data_parallel."""

    data_parallel: int = 1
    """Groups of devices, each with sentences of its own."""

    tensor_parallel: int = 1
    """Devices among which every large matrix is divided."""

    shards: int = 1
    """Among how many data-parallel ranks the student's state is sharded; 1: every rank has all."""

    granularity: Granularity = "layer"
    """What is gathered at a time."""

    reshard: bool = True
    """Whether gathered layers are given up between forward and backward pass."""

    on_gpu: bool = True
    """GPUs; on CPUs normalisation keeps more, and half-precision products are made in fp32."""

    @property
    def devices(self) -> int:
        """How many devices."""
        return self.data_parallel * self.tensor_parallel


OptimizerKind = Literal["adamw", "adafactor"]
StepKind = Literal["foreach", "fused", "one_by_one"]


@dataclass(frozen=True, kw_only=True)
class OptimizerPlan:
    """What the optimizer keeps."""

    kind: OptimizerKind = "adamw"
    """Which one."""

    num_averages: int = 2
    """AdamW's running averages: 2, or 3 with ``amsgrad``."""

    step: StepKind = "foreach"
    """How it goes through the parameters: all at once with room for one copy of them, in one
    kernel without, or one parameter after the other."""


@dataclass(frozen=True, kw_only=True)
class BatchPlan:
    """The largest batch of one device."""

    tokens: int
    """Tokens with padding that a decoder reads; also the most target tokens there can be."""

    sources: int = 0
    """Tokens with padding that an encoder reads, if there is one."""

    longest: int
    """Tokens of the longest sequence: a sentence with its prompt, or one side of a pair."""

    accumulates: bool = False
    """Whether gradients of earlier batches are there already."""

    unreduced: bool = False
    """Whether these are kept whole on every rank until the last batch of a step."""

    checkpoint_every: int | None = None
    """Every so many layers one forgets its activations and computes them again."""


@dataclass(frozen=True, kw_only=True)
class LossPlan:
    """How the loss is computed."""

    fused: bool = True
    """From hidden states, a chunk of logits at a time; False: all logits at once."""

    logits_bytes: int
    """fp32 logits that are formed at a time."""

    cache_bytes: int
    """fp32 logits that a kernel works on at a time."""


@dataclass(frozen=True, kw_only=True)
class PlanSettings:
    """All that a plan follows from."""

    student: PlannedModel
    """What is trained."""

    teacher: PlannedModel | None
    """The frozen teacher in memory; None: there is none, or its answers are read from a cache."""

    precision: Precision
    """The student's precision."""

    cluster: Cluster = field(default_factory=Cluster)
    """The devices."""

    optimizer: OptimizerPlan = field(default_factory=OptimizerPlan)
    """The optimizer."""

    batch: BatchPlan
    """The largest batch."""

    loss: LossPlan
    """The loss."""

    validates: bool = False
    """Whether there is validation."""

    notes: tuple[str, ...] = ()
    """What the recipe asks for and does not get."""
