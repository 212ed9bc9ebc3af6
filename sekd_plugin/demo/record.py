"""The note on a stage: what it was made from, how long it took, whether it is finished."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sekd_plugin.new_file import replace_file
from sekd_plugin.programs.process import Command


@dataclass(frozen=True, kw_only=True)
class StageRecord:
    """A stage that was begun."""

    stage: str
    """Its name."""

    made_from: Mapping[str, Any]
    """All that decides its result; plain values."""

    needs: Mapping[str, str]
    """Stage whose result was used → when that was finished."""

    commands: list[list[str]]
    """What was run, with ``$OUT`` and ``$RECIPES`` for the folders."""

    seconds: float
    """Wall time over all sittings, but for those that were killed outright."""

    finished: str | None
    """When, as ISO 8601 in UTC; None while it is not."""


def read_record(file: Path) -> StageRecord | None:
    """The record, or None if there is none that can be read: the stage is then done again."""
    try:
        return StageRecord(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def write_record(file: Path, record: StageRecord) -> None:
    """Write the record, whole or not at all."""
    replace_file(file, json.dumps(asdict(record), indent=2) + "\n")


def shown_commands(commands: tuple[Command, ...], folders: Mapping[str, Path]) -> list[list[str]]:
    """The commands with ``$OUT`` and the like in the place of folders."""

    def shown(word: str) -> str:
        for name, folder in folders.items():
            word = word.replace(str(folder), f"${name}")
        return word

    return [["sekd", *map(shown, command)] for command in commands]
