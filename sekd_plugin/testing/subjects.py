"""What is checked: an instance, a name, or a function that makes one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import TypeAlias, TypeVar

from sekd_plugin.errors import ConfigError
from sekd_plugin.registry import Registry

T = TypeVar("T")

Subject: TypeAlias = str | Mapping[str, object] | T | Callable[[], T]


def maker(subject: Subject[T], registry: Registry[T]) -> tuple[str, Callable[[], T]]:
    """What to call the subject, and how to make a fresh one.

    Args:
        subject: an instance, which is copied; a name or ``{name, config}`` that the registry
            knows; or a class or function that makes an instance when called without arguments.
        registry: the registry of its kind.

    Raises:
        ConfigError: it is none of these.
    """
    kind = registry.kind
    if isinstance(subject, registry.base):
        return f"{kind} {type(subject).__name__}", lambda: deepcopy(subject)
    if isinstance(subject, str | Mapping):
        choice = subject
        made = registry.create(choice, kind)
        name = choice if isinstance(choice, str) else choice["name"]
        return f"{kind} '{name}' ({type(made).__name__})", lambda: deepcopy(made)
    if callable(subject):
        try:
            made = subject()
        except ConfigError:
            raise
        except Exception as error:
            name = getattr(subject, "__name__", repr(subject))
            raise ConfigError(
                kind, f"{name} cannot be made: {type(error).__name__}: {error}"
            ) from error
        if isinstance(made, registry.base):
            return f"{kind} {type(made).__name__}", subject
        raise ConfigError(
            kind, f"{subject!r} gave {made!r}, which is not a {registry.base.__name__}"
        )
    raise ConfigError(
        kind,
        f"{subject!r} cannot be checked; give a {registry.base.__name__}, a name, "
        "{name: …, config: {…}}, or a function without arguments that makes one",
    )
