"""A model's output projection as the criterion reads it: weight, bias, and who holds the rest."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from fairseq2.nn import ColumnShardedLinear, Linear, TiedProjection
from torch import Tensor
from torch.distributed import ProcessGroup
from torch.nn import Module


@dataclass(frozen=True, kw_only=True)
class OutputProjection:
    """What the criterion multiplies hidden states by."""

    weight: Tensor
    """``[V, D]``, or this rank's words of it."""

    bias: Tensor | None
    """``[V]``, likewise."""

    group: ProcessGroup | None
    """The tensor-parallel ranks among which the words are divided, if they are."""


def output_projection(module: Module) -> OutputProjection | None:
    """Read a projection of fairseq2; None for any other, whose logits must be asked for."""
    if isinstance(module, Linear | TiedProjection):
        return OutputProjection(weight=module.weight, bias=module.bias, group=None)
    if isinstance(module, ColumnShardedLinear):
        group = module.tp_gang.as_process_group() if module.sharded else None
        return OutputProjection(weight=module.weight, bias=module.bias, group=group)
    return None


def in_autocast(states: Tensor) -> Tensor:
    """Hidden states as autocast would give them to the projection, where it is on for a GPU."""
    if states.is_cuda and torch.is_autocast_enabled("cuda"):
        return states.to(torch.get_autocast_dtype("cuda"))
    return states
