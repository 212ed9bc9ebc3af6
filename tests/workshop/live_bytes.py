"""Counts the bytes of all tensors that are alive, operation by operation."""

from __future__ import annotations

import weakref
from collections.abc import Iterable

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):
    """While it is on, ``now`` is what is alive and ``peak`` the most since :meth:`restart`.

    Storages are counted, each once, from the operation that makes them until they are freed: the
    allocator, and memory that an operation uses within itself, are not seen.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self.count(leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor))
        return result

    def count(self, tensors: Iterable[Tensor]) -> None:
        """Count tensors that are there already."""
        for tensor in tensors:
            storage = tensor.untyped_storage()
            key = storage._cdata
            if key in self._known:
                continue
            self._known.add(key)
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._freed, key, storage.nbytes())

    def restart(self) -> None:
        """Forget the peak there was."""
        self.peak = self.now

    def _freed(self, key: int, num_bytes: int) -> None:
        self._known.discard(key)
        self.now -= num_bytes
