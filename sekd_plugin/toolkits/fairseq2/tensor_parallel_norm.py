"""The gradient norm of a model whose layers are divided among tensor-parallel ranks.

fairseq2 takes each rank's norm of what that rank holds: every rank then clips by another factor,
and parameters that all of them hold drift apart.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager

import torch
from fairseq2.gang import Gangs
from fairseq2.nn import Sharded
from fairseq2.nn.data_parallel import (
    DataParallelFacade,
    get_data_parallel_facade,
    set_data_parallel_facade,
)
from torch import Tensor
from torch.distributed import all_reduce
from torch.distributed.tensor import DTensor
from torch.nn import Module, Parameter
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from typing_extensions import override


class TensorParallelFacade(DataParallelFacade):
    """What the trainer asks of a data-parallel model, with the norm over all ranks' parameters."""

    def __init__(self, facade: DataParallelFacade, model: Module, gangs: Gangs) -> None:
        """Add the norm to the ``facade`` of ``model``, over the tensor-parallel ranks."""
        self._facade = facade
        self._group = gangs.tp.as_process_group()
        divided = {
            parameter
            for module in model.modules()
            if isinstance(module, Sharded)
            for parameter, _ in module.get_shard_dims()
        }
        parameters = list(model.parameters())
        self._divided = [each for each in parameters if each in divided]
        self._whole = [each for each in parameters if each not in divided]

    @override
    def clip_grad_norm(self, max_norm: float | None) -> Tensor:
        """The norm of all gradients, each counted once; they are scaled down to ``max_norm``."""
        divided = _norm(self._divided).square()
        all_reduce(divided, group=self._group)
        norm = (divided + _norm(self._whole).square()).sqrt()
        if max_norm is not None:
            clip_grads_with_norm_([*self._divided, *self._whole], max_norm, norm)
        return norm

    @override
    def state_dict(self) -> dict[str, object]:
        return self._facade.state_dict()

    @override
    def load_state_dict(self, state_dict: dict[str, object]) -> None:
        self._facade.load_state_dict(state_dict)

    @override
    def no_sync(self) -> AbstractContextManager[None]:
        return self._facade.no_sync()

    @override
    def summon_full_parameters(self) -> AbstractContextManager[None]:
        return self._facade.summon_full_parameters()


def mend_gradient_norm(model: Module, gangs: Gangs) -> None:
    """Have the trainer of a data-parallel model clip by the norm over all tensor-parallel ranks."""
    if gangs.tp.size > 1:
        facade = TensorParallelFacade(get_data_parallel_facade(model), model, gangs)
        set_data_parallel_facade(model, facade)


def _norm(parameters: Iterable[Parameter]) -> Tensor:
    norm = get_total_norm([each.grad for each in parameters if each.grad is not None])
    return norm.full_tensor() if isinstance(norm, DTensor) else torch.as_tensor(norm)
