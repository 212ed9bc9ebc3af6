"""The words around a sentence that ask a language model to translate it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sekd_plugin.errors import ConfigError

PLACEHOLDER = "{source}"


@dataclass(frozen=True)
class PromptTemplate:
    r"""A prompt with one gap, e.g. ``"Translate this from English to German: {source}\n"``.

    Raises:
        ConfigError: ``{source}`` does not stand in it exactly once, or it has other braces.
    """

    text: str
    """The prompt, with ``{source}`` where the sentence goes."""

    def __post_init__(self) -> None:
        for stray in re.findall(r"\{[^{}]*\}|[{}]", self.text):
            if stray != PLACEHOLDER:
                problem = f"'{stray}' is not allowed in {self.text!r}; the one placeholder is"
                raise ConfigError("template", f"{problem} {PLACEHOLDER}")
        count = self.text.count(PLACEHOLDER)
        if count != 1:
            problem = f"{self.text!r} has {PLACEHOLDER} {count} times; it must stand there once"
            raise ConfigError("template", problem)

    def prompt(self, source: str) -> str:
        """The template with ``source`` in its gap; braces in ``source`` stay as they are."""
        before, _, after = self.text.partition(PLACEHOLDER)
        return f"{before}{source}{after}"
