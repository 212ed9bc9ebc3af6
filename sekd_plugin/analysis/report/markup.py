"""HTML and SVG out of nested calls; text is escaped unless it is markup already."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

_VOID = frozenset({"meta", "br", "hr", "line", "circle", "rect", "path", "polyline", "polygon"})


class Markup(str):
    """Text that is markup already."""


def tag(name: str, *children: str, **attributes: object) -> Markup:
    """An element.

    A trailing underscore in an attribute's name is dropped (``class_``), others become hyphens;
    an attribute that is None is left out. Children that are not :class:`Markup` are escaped.
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_plain(value), quote=True)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID and not children:
        # The closing slash is what SVG needs and HTML allows.
        return Markup(f"<{name}{given}/>")
    return Markup(f"<{name}{given}>{join(children)}</{name}>")


def join(children: Sequence[str]) -> Markup:
    """Several pieces after one another, text escaped."""
    return Markup(
        "".join(
            child if isinstance(child, Markup) else escape(child, quote=False) for child in children
        )
    )


def _plain(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
