"""What a plan asks of the shape of any model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

from sekd_plugin.memory.weight import Weight


@dataclass(frozen=True, kw_only=True)
class ModelShape(ABC):
    """A Transformer: layers in one stack or two, and a projection to the words."""

    width: int
    """D, the size of the hidden states between layers."""

    inner: int
    """F, the size inside a feed-forward layer."""

    vocabulary: int
    """V, the number of words."""

    tied: bool = False
    """Whether the output projection is the embedding table."""

    dropout: bool = False
    """Whether outputs are dropped out at random."""

    @abstractmethod
    def weights(self) -> Iterator[Weight]:
        """Every parameter, in the order of the model; a tied table once."""

    @property
    @abstractmethod
    def output(self) -> Weight:
        """The output projection, one of :meth:`weights`."""

    @property
    @abstractmethod
    def stacks(self) -> tuple[int, ...]:
        """How many layers each stack has; the numbers of layers go on from stack to stack."""

    @property
    @abstractmethod
    def table_bytes(self) -> int:
        """Bytes of tables that are not trained."""

    @property
    def num_layers(self) -> int:
        """How many layers."""
        return sum(self.stacks)

    @property
    def num_parameters(self) -> int:
        """How many numbers are trained, a tied table counted once."""
        return sum(weight.size for weight in self.weights())

    def layers_of(self, stack: int) -> range:
        """The numbers of a stack's layers."""
        first = sum(self.stacks[:stack])
        return range(first, first + self.stacks[stack])

    def layers_again(self, every: int | None) -> frozenset[int]:
        """The layers that are computed again: of each stack the first, and every so many."""
        if every is None:
            return frozenset()
        return frozenset(
            layer for stack in range(len(self.stacks)) for layer in self.layers_of(stack)[::every]
        )
