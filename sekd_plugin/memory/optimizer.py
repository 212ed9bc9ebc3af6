"""What the optimizer keeps for its parameters, and what a step of it needs."""

from __future__ import annotations

from sekd_plugin.memory.settings import Cluster, OptimizerPlan, PlannedModel

_STEP_COUNT = 4
"""Bytes of the number of steps, which is kept for each parameter."""


def state_bytes(plan: OptimizerPlan, model: PlannedModel, cluster: Cluster) -> int:
    """What is kept from step to step.

    Formula:
        AdamW: two averages of each number (three with amsgrad); Adafactor: of each matrix a number
        for each row and column, of a vector each number
    """
    total = 0
    for weight in model.shape.weights():
        if plan.kind == "adafactor" and len(weight.shape) > 1:
            numbers = sum(weight.on_rank(cluster.tensor_parallel))
        else:
            averages = 1 if plan.kind == "adafactor" else plan.num_averages
            numbers = averages * weight.on_shard(cluster.tensor_parallel, cluster.shards)
        total += numbers * model.weight_bytes + _STEP_COUNT
    return total


def step_bytes(plan: OptimizerPlan, model: PlannedModel, cluster: Cluster) -> int:
    """What a step needs in passing: new values of all parameters, or of one at a time."""
    sizes = [
        weight.on_shard(cluster.tensor_parallel, cluster.shards) for weight in model.shape.weights()
    ]
    if plan.step == "fused":
        return 0
    if plan.step == "foreach":
        return model.weight_bytes * sum(sizes)
    copies = 1 if plan.kind == "adafactor" else 2
    return copies * model.weight_bytes * max(sizes)
