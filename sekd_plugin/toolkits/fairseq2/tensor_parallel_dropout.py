"""What a divided model drops out at random: the same on all its tensor-parallel ranks.

fairseq2 seeds each rank differently. Outputs that every rank has whole would be dropped out
differently on each, and parameters that all of them hold would drift apart.
"""

from __future__ import annotations

import torch
from fairseq2.gang import Gangs
from torch import Tensor
from torch.nn import Module
from torch.utils.hooks import RemovableHandle


def mend_dropout(model: Module, gangs: Gangs) -> None:
    """Have all tensor-parallel ranks draw the random numbers of the first of them.

    They are told where its generators stand at the first training batch of a run, new or resumed;
    from then on all of them draw equally many.

    Args:
        model: the student, as wrapped for data parallelism.
        gangs: the processes.
    """
    if gangs.tp.size == 1:
        return
    handle: list[RemovableHandle] = []

    def agree(module: Module, inputs: object) -> None:
        if module.training:
            _take_states_of_first(gangs)
            handle.pop().remove()

    handle.append(model.register_forward_pre_hook(agree))


def _take_states_of_first(gangs: Gangs) -> None:
    on_gpu = gangs.device.type == "cuda"
    states: list[object] = [torch.get_rng_state()]
    if on_gpu:
        states.append(torch.cuda.get_rng_state(gangs.device))
    gangs.tp.broadcast_objects(states)
    first, *others = states
    assert isinstance(first, Tensor)
    torch.set_rng_state(first)
    for state in others:
        assert isinstance(state, Tensor)
        torch.cuda.set_rng_state(state, gangs.device)
