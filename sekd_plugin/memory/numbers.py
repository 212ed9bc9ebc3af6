"""How wide the numbers of a model's forward pass are."""

from __future__ import annotations

from dataclasses import dataclass

from sekd_plugin.memory.settings import PlannedModel, Precision

FP32 = 4
"""Bytes of a number that is never narrowed."""

TOKEN_ID = 8
"""Bytes of a token's id."""


@dataclass(frozen=True, kw_only=True)
class NumberBytes:
    """How wide the numbers of a forward pass are."""

    between: int
    """Bytes of a number of the hidden states between layers."""

    inside: int
    """Bytes of a number within a layer, where the large products are made."""

    autocast: bool
    """Whether each product keeps a cast copy of its input of its own."""


def student_numbers(model: PlannedModel, precision: Precision) -> NumberBytes:
    """Of the student: sharded mixed precision narrows everything, autocast the products alone."""
    between = model.weight_bytes if precision.autocast else precision.compute_bytes
    return NumberBytes(between=between, inside=precision.compute_bytes, autocast=precision.autocast)


def teacher_numbers(model: PlannedModel, precision: Precision) -> NumberBytes:
    """Of the teacher: its weights' own type, but for products under autocast."""
    inside = precision.compute_bytes if precision.autocast else model.weight_bytes
    return NumberBytes(between=model.weight_bytes, inside=inside, autocast=precision.autocast)
