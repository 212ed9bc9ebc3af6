"""What a plan asks of the activations of any model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from sekd_plugin.memory.model_shape import ModelShape
from sekd_plugin.memory.numbers import NumberBytes
from sekd_plugin.memory.settings import BatchPlan


@dataclass(frozen=True, kw_only=True)
class Activations(ABC):
    """Activations of a model for the largest batch, in bytes."""

    numbers: NumberBytes
    """How wide its numbers are."""

    batch: BatchPlan
    """The batch."""

    tensor_parallel: int = 1
    """Among how many devices heads and feed-forward layers are divided."""

    on_gpu: bool = True
    """GPUs, or CPUs, whose operations keep more."""

    @abstractmethod
    def without_gradients(self) -> int:
        """The most that a forward pass needs which keeps nothing, its output included."""

    @abstractmethod
    def output(self) -> int:
        """The hidden states that the output projection is applied to."""

    @abstractmethod
    def kept(self) -> int:
        """What the forward pass leaves for the backward pass."""

    @abstractmethod
    def in_last_layer(self) -> int:
        """What the backward pass of the last layer needs in passing."""

    @abstractmethod
    def in_first_layer(self) -> int:
        """What is kept of the first layer, and what its backward pass needs in passing."""

    @abstractmethod
    def first_input(self) -> int:
        """The input of the first layer."""

    @abstractmethod
    def after_last_stack(self) -> int | None:
        """What is kept, and needed, when the backward pass goes on to the first of two stacks."""


def dropped_out(shape: ModelShape, number_bytes: int, on_gpu: bool) -> int:
    """What was dropped out of a token's state: a byte for each number, on a CPU a number."""
    if not shape.dropout:
        return 0
    return shape.width * (1 if on_gpu else number_bytes)
