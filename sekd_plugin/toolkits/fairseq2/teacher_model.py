"""The teacher of a recipe, loaded by itself: no student, no trainer."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from fairseq2.gang import Gang, Gangs
from fairseq2.model_checkpoint import CorruptModelCheckpointError
from fairseq2.nn import Sharded
from fairseq2.recipe.config import ReferenceModelSection
from fairseq2.runtime.dependency import DependencyResolver
from torch import Tensor
from torch.nn import Module

from sekd_plugin.errors import ConfigError
from sekd_plugin.toolkits.fairseq2.misfit import misfit
from sekd_plugin.toolkits.fairseq2.model_config import model_card, model_config

_SAMPLES = 4096
"""Numbers of each parameter that its fingerprint is made from."""


def load_teacher(
    section: ReferenceModelSection, resolver: DependencyResolver, gangs: Gangs
) -> Module:
    """The frozen teacher that a recipe's section ``teacher`` names.

    Args:
        section: the recipe's.
        resolver: fairseq2's.
        gangs: the processes; its tensor-parallel ranks hold a part of the teacher each.

    Raises:
        ConfigError: it is not known, cannot be read, or is of another shape.
    """
    try:
        model = _load(section, resolver, gangs)
    except (CorruptModelCheckpointError, FileNotFoundError) as error:
        raise misfit("teacher", error) from None
    if gangs.tp.size > 1 and not any(isinstance(module, Sharded) for module in model.modules()):
        raise ConfigError(
            "gang.tensor_parallel_size",
            f"is {gangs.tp.size}, and a {type(model).__name__} of this family cannot be divided",
        )
    model.requires_grad_(False)
    return model.eval()


@torch.no_grad()
def fingerprint(model: Module, gang: Gang) -> str:
    """SHA-256 of a model's parameters: names, shapes, dtypes, and a sample of each one's numbers.

    Training changes nearly every number of a model, so a sample tells two apart. A model that is
    divided has the fingerprint that it has whole.

    Args:
        model: the model, or this rank's part of it.
        gang: the ranks that it is divided among.
    """
    dims = {
        id(parameter): dim
        for module in model.modules()
        if gang.size > 1 and isinstance(module, Sharded)
        for parameter, dim in module.get_shard_dims()
    }
    total = hashlib.sha256()
    for name, parameter in model.state_dict(keep_vars=True).items():
        if not isinstance(parameter, Tensor):
            continue
        if id(parameter) in dims:
            parameter = _whole(parameter.detach(), dims[id(parameter)], gang)
        flat = parameter.detach().reshape(-1)
        step = max(1, flat.numel() // _SAMPLES)
        total.update(f"{name} {tuple(parameter.shape)} {parameter.dtype}".encode())
        sample = flat[::step].contiguous().cpu()
        total.update(sample.view(torch.uint8).numpy().tobytes() if sample.numel() else b"")
    return total.hexdigest()


def _whole(part: Tensor, dim: int, gang: Gang) -> Tensor:
    """A parameter that ranks hold a part of each."""
    parts = [torch.empty_like(part) for _ in range(gang.size)]
    gang.all_gather_to_list(parts, part.contiguous())
    return torch.cat(parts, dim)


def _load(section: ReferenceModelSection, resolver: DependencyResolver, gangs: Gangs) -> Module:
    family, config = model_config("teacher", section, resolver)
    options: dict[str, Any] = {"load_rank0_only": False, "mmap": section.mmap}
    if section.path is not None:
        return family.load_custom_model(
            section.path, config, gangs, section.dtype, restrict=None, **options
        )
    card = model_card("teacher.name", str(section.name), resolver)
    return family.load_model(card, gangs, section.dtype, config, **options)
