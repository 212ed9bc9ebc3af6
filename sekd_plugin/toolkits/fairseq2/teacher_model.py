"""The teacher of a recipe, loaded by itself: no student, no trainer."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from fairseq2.gang import create_fake_gangs
from fairseq2.model_checkpoint import CorruptModelCheckpointError
from fairseq2.recipe.config import ReferenceModelSection
from fairseq2.runtime.dependency import DependencyResolver
from torch import Tensor
from torch.nn import Module

from sekd_plugin.toolkits.fairseq2.misfit import misfit
from sekd_plugin.toolkits.fairseq2.model_config import model_card, model_config

_SAMPLES = 4096
"""Numbers of each parameter that its fingerprint is made from."""


def load_teacher(
    section: ReferenceModelSection, resolver: DependencyResolver, device: torch.device
) -> Module:
    """The frozen teacher that a recipe's section ``teacher`` names.

    Raises:
        ConfigError: it is not known, cannot be read, or is of another shape.
    """
    try:
        model = _load(section, resolver, device)
    except (CorruptModelCheckpointError, FileNotFoundError) as error:
        raise misfit("teacher", error) from None
    model.requires_grad_(False)
    return model.eval()


@torch.no_grad()
def fingerprint(model: Module) -> str:
    """SHA-256 of a model's parameters: names, shapes, dtypes, and a sample of each one's numbers.

    Training changes nearly every number of a model, so a sample tells two apart.
    """
    total = hashlib.sha256()
    for name, parameter in model.state_dict().items():
        if not isinstance(parameter, Tensor):
            continue
        flat = parameter.detach().reshape(-1)
        step = max(1, flat.numel() // _SAMPLES)
        total.update(f"{name} {tuple(parameter.shape)} {parameter.dtype}".encode())
        sample = flat[::step].contiguous().cpu()
        total.update(sample.view(torch.uint8).numpy().tobytes() if sample.numel() else b"")
    return total.hexdigest()


def _load(
    section: ReferenceModelSection, resolver: DependencyResolver, device: torch.device
) -> Module:
    family, config = model_config("teacher", section, resolver)
    gangs = create_fake_gangs(device)
    options: dict[str, Any] = {"load_rank0_only": False, "mmap": section.mmap}
    if section.path is not None:
        return family.load_custom_model(
            section.path, config, gangs, section.dtype, restrict=None, **options
        )
    card = model_card("teacher.name", str(section.name), resolver)
    return family.load_model(card, gangs, section.dtype, config, **options)
