"""How our errors leave fairseq2's command line: one line, and their own exit code."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from fairseq2.recipe.cli import register_cli_error
from fairseq2.runtime.dependency import DependencyContainer

from sekd_plugin.errors import SekdError


def register_cli_errors(container: DependencyContainer) -> None:
    """Have every error of ours printed as it is, without a traceback."""
    kinds: list[type[SekdError]] = [SekdError, *_descendants(SekdError)]
    for kind in kinds:
        register_cli_error(container, kind, report)


def report(ex: SekdError) -> int:
    """Print the line and return the exit code."""
    print(f"sekd train: {ex}", file=sys.stderr)
    return ex.exit_code


def _descendants(kind: type[SekdError]) -> Iterator[type[SekdError]]:
    for child in kind.__subclasses__():
        yield child
        yield from _descendants(child)
