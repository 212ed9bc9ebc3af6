"""What fairseq2 loads by itself: every criterion and strategy by its name, and exporters."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

from fairseq2.models import ModelFamily
from fairseq2.models.hg import HuggingFaceConverter
from fairseq2.models.mistral import MISTRAL_FAMILY
from fairseq2.models.nllb import NLLB_FAMILY
from fairseq2.recipe.component import register_component
from fairseq2.runtime.dependency import DependencyContainer, DependencyResolver

from sekd_plugin import criteria, divergences, proxies, thresholds
from sekd_plugin.construction import settings_of
from sekd_plugin.errors import ConfigError
from sekd_plugin.registry import Registry
from sekd_plugin.toolkits.fairseq2.durability.decoration import decorate
from sekd_plugin.toolkits.fairseq2.mistral_export import MistralHuggingFaceConverter
from sekd_plugin.toolkits.fairseq2.sequence_to_sequence.export import NllbHuggingFaceConverter
from sekd_plugin.toolkits.fairseq2.sequence_to_sequence.hugging_face import read_published_nllb

_EXPORTERS: dict[str, type[HuggingFaceConverter]] = {
    MISTRAL_FAMILY: MistralHuggingFaceConverter,
    NLLB_FAMILY: NllbHuggingFaceConverter,
}


def register_extension(container: DependencyContainer) -> None:
    """Register the criteria, divergences, thresholds and proxies (entry point of fairseq2).

    Any recipe can then have its ``ComponentManager`` structure the settings of, say,
    ``(Criterion, "word_kd")`` and create it. A plug-in that is broken is registered as well:
    whoever asks for it gets its error. Raising here would take all the others away, because
    fairseq2 goes on without an extension that raises.

    The families that fairseq2 cannot export to Hugging Face get their exporters as well, and NLLB
    is read from there.
    """
    exported = set(container.iter_keys(HuggingFaceConverter))
    for family, converter in _EXPORTERS.items():
        if family not in exported:
            container.register_type(HuggingFaceConverter, converter, key=family)
    if NLLB_FAMILY in set(container.iter_keys(ModelFamily)):
        decorate(container, ModelFamily, read_published_nllb, key=NLLB_FAMILY)
    for registry in (criteria, divergences, thresholds, proxies):
        for name in registry.names():
            _register(container, registry, name)


def settings_class(kind: type[Any]) -> type[Any]:
    """A dataclass with one field for each setting of ``kind``, as fairseq2 wants one.

    The fields are of type ``object``: fairseq2 passes the values on and the registry checks them.
    """
    fields: list[Any] = []
    for key, parameter in settings_of(kind).items():
        if parameter.default is inspect.Parameter.empty:
            fields.append((key, object))
        else:
            default = parameter.default
            fields.append((key, object, dataclasses.field(default_factory=_giver(default))))
    return dataclasses.make_dataclass(f"{kind.__name__}Settings", fields, kw_only=True)


def _giver(value: object) -> Callable[[], object]:
    """A function that gives ``value``: a dataclass takes a list as a default only so."""
    return lambda: value


def _register(container: DependencyContainer, registry: Registry[Any], name: str) -> None:
    def create(resolver: DependencyResolver, config: Any) -> object:
        settings = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
        return registry.create({"name": name, "config": settings}, registry.kind)

    def refuse(resolver: DependencyResolver, config: Any) -> object:
        return registry.create(name, registry.kind)

    try:
        kind = registry.get(name)
    except ConfigError:
        register_component(container, registry.base, name, object, refuse)
    else:
        register_component(container, registry.base, name, settings_class(kind), create)
