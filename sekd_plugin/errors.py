"""Errors for people: one line that names the place, the value, and what is allowed."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar


class SekdError(Exception):
    """A failure the user can act on; its text is one complete line.

    The command line prints that line, without a traceback, and exits with ``exit_code``.
    """

    exit_code: ClassVar[int] = 2


class ConfigError(SekdError, ValueError):
    """A setting that cannot be used.

    ``key`` is the dotted place of the setting, as it is written in a recipe. Code that checks
    a nested setting raises with its own short key; each level above puts its name in front
    with :meth:`within`.
    """

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(key, problem)
        self.key = key
        self.problem = problem

    def within(self, parent: str) -> ConfigError:
        """The same error, seen from the section ``parent`` that holds the setting."""
        if not parent:
            return self
        return type(self)(f"{parent}.{self.key}" if self.key else parent, self.problem)

    def __str__(self) -> str:
        return f"{self.key}: {self.problem}" if self.key else self.problem


class ComponentError(SekdError, ValueError):
    """A divergence, threshold or proxy gave back what it must not; the text names its class."""

    def __init__(self, component: str, problem: str) -> None:
        super().__init__(component, problem)
        self.component = component
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.component} {self.problem}"


class DataError(SekdError):
    """A data file, or one line of it, that cannot be used."""

    def __init__(self, file: Path | str, problem: str, line: int | None = None) -> None:
        super().__init__(file, problem, line)
        self.file = file
        self.problem = problem
        self.line = line

    def __str__(self) -> str:
        place = f"{self.file}" if self.line is None else f"{self.file}, line {self.line}"
        return f"{place}: {self.problem}"


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """A clause that names the known name nearest to ``name`` and lists them all."""
    names = sorted(known)
    listed = ", ".join(names) if names else "none"
    close = difflib.get_close_matches(str(name), names, n=1, cutoff=0.4)
    hint = f"did you mean '{close[0]}'? " if close else ""
    return f"{hint}known: {listed}"
