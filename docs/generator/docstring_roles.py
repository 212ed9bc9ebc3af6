"""Docstrings name things as ``:class:`Divergence```; on the site that is plain code."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

_ROLE = re.compile(r":(?:class|meth|func|attr|data|mod|exc):`~?([^`]+)`")


class DocstringRoles(Extension):
    """Turns reStructuredText roles in docstrings into code."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Rewrite one docstring, before anything reads it."""
        if obj.docstring is not None:
            obj.docstring.value = _ROLE.sub(r"``\1``", obj.docstring.value)
