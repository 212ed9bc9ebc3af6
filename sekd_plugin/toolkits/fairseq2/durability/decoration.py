"""Putting something of ours around a part that fairseq2 registers itself."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TypeVar

from fairseq2.runtime.dependency import DependencyContainer, DependencyResolver

T = TypeVar("T")


def decorate(
    container: DependencyContainer,
    kind: type[T],
    wrap: Callable[[DependencyResolver, T], T],
    *,
    key: Hashable | None = None,
) -> None:
    """Have whoever asks the container for a ``kind`` get ``wrap(resolver, original)``.

    fairseq2 refuses a second registration of the same class, so the first one is changed.

    Args:
        container: before anything was resolved from it.
        kind: the class that fairseq2 registered the part under.
        wrap: makes the part to be used from the resolver and fairseq2's own.
        key: which of several parts of that class.
    """
    registration = container._registrations[(kind, key)]
    original = registration.provider

    def provide(resolver: DependencyResolver) -> object:
        part = original(resolver)
        if not isinstance(part, kind):
            raise TypeError(f"{kind.__name__} was expected of fairseq2, not {type(part).__name__}")
        return wrap(resolver, part)

    registration.provider = provide
