"""One parameter of a model: its shape, and how ranks divide it."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from sekd_plugin.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Weight:
    """One parameter."""

    name: str
    """Its name in the model."""

    shape: tuple[int, ...]
    """Its shape, undivided."""

    divided: int | None = None
    """The dimension that tensor-parallel ranks divide; None: each holds all of it."""

    layer: int | None = None
    """The number of the layer it stands in; None: outside of the layers."""

    multiplies: bool = False
    """Whether inputs are multiplied by it, as a matrix: what autocast makes a narrow copy of."""

    @property
    def size(self) -> int:
        """How many numbers it is."""
        return prod(self.shape)

    def on_rank(self, tensor_parallel: int) -> tuple[int, ...]:
        """The shape of what one of so many tensor-parallel ranks holds.

        Raises:
            ConfigError: the dimension cannot be divided by their number.
        """
        if self.divided is None:
            return self.shape
        if self.shape[self.divided] % tensor_parallel:
            raise ConfigError(
                "gang.tensor_parallel_size",
                f"{tensor_parallel} does not divide the {self.shape[self.divided]} of "
                f"{self.name}, {list(self.shape)}",
            )
        return tuple(
            length // tensor_parallel if dimension == self.divided else length
            for dimension, length in enumerate(self.shape)
        )

    def on_shard(self, tensor_parallel: int, shards: int) -> int:
        """How many numbers the first of so many shards holds: rows are dealt out, rounded up."""
        rows, *rest = self.on_rank(tensor_parallel)
        return -(-rows // shards) * prod(rest)


@dataclass(frozen=True, kw_only=True)
class LayerWeights:
    """Makes the parameters of one layer."""

    prefix: str
    """What the names of the layer's parameters begin with."""

    layer: int
    """Its number."""

    def matrix(self, name: str, rows: int, columns: int, divided: int) -> Weight:
        """A matrix that inputs are multiplied by."""
        return Weight(
            name=f"{self.prefix}.{name}.weight",
            shape=(rows, columns),
            divided=divided,
            layer=self.layer,
            multiplies=True,
        )

    def vector(self, name: str, size: int, divided: int | None = None) -> Weight:
        """A bias, or what a normalisation scales by."""
        full_name = f"{self.prefix}.{name}"
        return Weight(name=full_name, shape=(size,), divided=divided, layer=self.layer)
