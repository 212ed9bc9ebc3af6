"""What fairseq2 loads by itself: every criterion and strategy as a component of its name."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

from fairseq2.recipe.component import register_component
from fairseq2.runtime.dependency import DependencyContainer, DependencyResolver

from sekd_plugin import criteria, divergences, proxies, thresholds
from sekd_plugin.construction import settings_of
from sekd_plugin.registry import Registry


def register_extension(container: DependencyContainer) -> None:
    """Register the criteria, divergences, thresholds and proxies (entry point of fairseq2).

    Any recipe can then have its ``ComponentManager`` structure the settings of, say,
    ``(Criterion, "word_kd")`` and create it.
    """
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
            fields.append((key, object, dataclasses.field(default=parameter.default)))
    return dataclasses.make_dataclass(f"{kind.__name__}Settings", fields, kw_only=True)


def _register(container: DependencyContainer, registry: Registry[Any], name: str) -> None:
    def create(resolver: DependencyResolver, config: Any) -> object:
        settings = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
        return registry.create({"name": name, "config": settings}, registry.kind)

    register_component(container, registry.base, name, settings_class(registry.get(name)), create)
