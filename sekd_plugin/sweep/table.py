"""Which rows stand in which table of results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sekd_plugin.errors import ConfigError, did_you_mean


@dataclass(frozen=True, kw_only=True)
class Table:
    """Some rows that are compared with each other."""

    name: str
    """Its name, and its folder's."""

    title: str
    """What stands above it."""

    rows: tuple[str, ...]
    """The names of its rows, in its order."""

    baseline: str | None
    """The row that the others are compared with; None compares nothing."""


def chosen_rows(asked: Sequence[str], known: Sequence[str], key: str) -> list[str]:
    """The rows that are asked for, each once; the name of a grid stands for all its rows.

    Args:
        asked: names of rows and grids.
        known: all rows, in the order of the file.
        key: who asks, for the error.

    Raises:
        ConfigError: one is neither a row nor a grid.
    """
    chosen: list[str] = []
    for name in asked:
        found = [row for row in known if name in (row, row.partition(",")[0])]
        if not found:
            grids = {row.partition(",")[0] for row in known}
            raise ConfigError(key, f"'{name}' is not a row; {did_you_mean(name, {*known, *grids})}")
        chosen += [row for row in found if row not in chosen]
    return chosen
