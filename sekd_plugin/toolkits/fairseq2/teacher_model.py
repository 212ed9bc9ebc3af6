"""The teacher of a recipe, loaded by itself: no student, no trainer."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, cast

import torch
from fairseq2.assets import AssetStore
from fairseq2.gang import create_fake_gangs
from fairseq2.model_checkpoint import CorruptModelCheckpointError
from fairseq2.models import ModelFamily
from fairseq2.models.clm import CausalLM
from fairseq2.recipe.config import ReferenceModelSection
from fairseq2.runtime.dependency import DependencyResolver
from fairseq2.utils.config import StandardConfigMerger
from fairseq2.utils.structured import StandardValueConverter
from torch import Tensor

from sekd_plugin.errors import ConfigError, did_you_mean

_FAMILY: type[ModelFamily] = ModelFamily
_SAMPLES = 4096
"""Numbers of each parameter that its fingerprint is made from."""


def load_teacher(
    section: ReferenceModelSection, resolver: DependencyResolver, device: torch.device
) -> CausalLM:
    """The frozen teacher that a recipe's section ``teacher`` names.

    Raises:
        ConfigError: it is not known, cannot be read, or is of another kind or shape.
    """
    try:
        model = _load(section, resolver, device)
    except (CorruptModelCheckpointError, FileNotFoundError) as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        raise ConfigError(
            "teacher.path",
            "the checkpoint does not fit teacher.config_overrides, or is damaged: "
            + " ".join(str(cause).split()),
        ) from None
    if not isinstance(model, CausalLM):
        raise ConfigError(
            "teacher.family", f"gives a {type(model).__name__}, which is not a CausalLM"
        )
    model.requires_grad_(False)
    return model.eval()


@torch.no_grad()
def fingerprint(model: torch.nn.Module) -> str:
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
) -> torch.nn.Module:
    gangs = create_fake_gangs(device)
    options: dict[str, Any] = {"load_rank0_only": False, "mmap": section.mmap}
    if section.path is not None:
        family = _family(str(section.family), resolver)
        shape = family.config_kls()
        if section.arch is not None:
            shape = family.maybe_get_arch_config(section.arch)
        config = _overridden(shape, section.config_overrides, family)
        return family.load_custom_model(
            section.path, config, gangs, section.dtype, restrict=None, **options
        )
    name = str(section.name)
    card = resolver.resolve(AssetStore).maybe_retrieve_card(name)
    if card is None:
        raise ConfigError("teacher.name", f"'{name}' is not a model that fairseq2 knows")
    family = _family(card.field("model_family").as_(str), resolver)
    config = _overridden(family.get_model_config(card), section.config_overrides, family)
    return family.load_model(card, gangs, section.dtype, config, **options)


def _family(name: str, resolver: DependencyResolver) -> ModelFamily:
    known = {str(key) for key in resolver.iter_keys(_FAMILY)}
    if name not in known:
        raise ConfigError("teacher.family", f"'{name}' is not known; {did_you_mean(name, known)}")
    return resolver.resolve(_FAMILY, key=name)


def _overridden(shape: object, overrides: object, family: ModelFamily) -> object:
    """A model's configuration with a recipe's ``config_overrides``."""
    if not overrides:
        return shape
    converter = StandardValueConverter()
    merged = StandardConfigMerger().merge(
        converter.unstructure(shape), cast("Mapping[str, object]", overrides)
    )
    return converter.structure(merged, family.config_kls)
