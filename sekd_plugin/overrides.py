"""Optional methods that go with another one, and what becomes of them in subclasses."""

from __future__ import annotations


def written_for(component: object, companion: str, *formulas: str) -> bool:
    """Whether the method ``companion`` was written for the ``formulas`` that the component has.

    It was unless a class below the companion's own has overridden one of them: such a class
    inherits what goes with a formula that is no longer its own.

    Args:
        component: an instance.
        companion: the name of the method that goes with the others.
        formulas: the names of those others; the component has each of them.
    """
    order = type(component).__mro__

    def depth(method: str) -> int:
        return next(place for place, owner in enumerate(order) if method in vars(owner))

    own = getattr(component, "__dict__", {})
    return all(depth(companion) <= depth(name) and name not in own for name in formulas)
