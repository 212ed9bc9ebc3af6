"""The docstrings under the fields of a dataclass, read from its source."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from typing import Any

_ROLE = re.compile(r":(?:py:)?[a-z]+:`~?\.?([^`<>]+)`")
_BROKEN_ROLE = re.compile(r":attr`([^`]+)`")
_QUOTED = re.compile(r"``([^`]+)``")


def field_docstrings(kind: type[Any]) -> dict[str, str]:
    """Field → the text under it, as one line of Markdown; those of base classes included."""
    found: dict[str, str] = {}
    for owner in reversed(kind.__mro__):
        if owner is object or not hasattr(owner, "__dataclass_fields__"):
            continue
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(owner))).body
        assert isinstance(definition, ast.ClassDef)
        for field, text in zip(definition.body, definition.body[1:], strict=False):
            if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
                continue
            if (
                isinstance(text, ast.Expr)
                and isinstance(text.value, ast.Constant)
                and isinstance(text.value.value, str)
            ):
                found[field.target.id] = as_markdown(text.value.value)
    return found


def as_markdown(docstring: str) -> str:
    """A docstring in reStructuredText as one line of Markdown."""
    text = " ".join(docstring.split())
    for pattern in (_ROLE, _BROKEN_ROLE, _QUOTED):
        text = pattern.sub(r"`\1`", text)
    return (
        text.replace("`None`", "`null`").replace("`True`", "`true`").replace("`False`", "`false`")
    )
