"""Counts the bytes of all tensors that are alive, operation by operation."""

from __future__ import annotations

import weakref
from collections.abc import Iterable

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):
    """While it is on, ``now`` is what is alive and ``peak`` the most since :meth:`restart`.

    Storages are counted, each once. The allocator, and memory that an operation uses within
    itself, are not seen.

    Args:
        resizing: whether storages are emptied and filled again, as sharding does; all are then
            looked at after each operation.
    """

    def __init__(self, resizing: bool = False) -> None:
        super().__init__()
        self.now = 0
        self.peak = 0
        self._resizing = resizing
        self._sizes: dict[int, int] = {}
        self._storages: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if any(issubclass(kind, DTensor) for kind in types):
            return NotImplemented  # its parts come by next
        result = func(*args, **(kwargs or {}))
        self.count(tree_leaves((result, args) if self._resizing else result))
        return result

    def count(self, values: Iterable[object]) -> None:
        """Count the tensors among some values, where they are not known already."""
        for value in values:
            if isinstance(value, DTensor):
                value = value.to_local()
            if isinstance(value, Tensor):
                self._know(value.untyped_storage())
        if self._resizing:
            for key, reference in list(self._storages.items()):
                storage = reference()
                if storage is not None:
                    self._set(key, storage.nbytes())
        self.peak = max(self.peak, self.now)

    def restart(self) -> None:
        """Forget the peak there was."""
        self.peak = self.now

    def _know(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self._storages:
            return
        self._storages[key] = weakref.ref(storage, lambda _: self._forget(key))
        self._set(key, storage.nbytes())

    def _set(self, key: int, num_bytes: int) -> None:
        self.now += num_bytes - self._sizes.get(key, 0)
        self._sizes[key] = num_bytes

    def _forget(self, key: int) -> None:
        del self._storages[key]
        self.now -= self._sizes.pop(key)
