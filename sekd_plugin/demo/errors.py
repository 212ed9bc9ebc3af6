"""How a demo ends early."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from sekd_plugin.errors import SekdError


class StageFailedError(SekdError):
    """A stage's program failed; the line names its log and what the log ends with."""

    exit_code: ClassVar[int] = 1

    def __init__(self, stage: str, log: Path, last_line: str) -> None:
        super().__init__(stage, log, last_line)
        self.stage = stage
        self.log = log
        self.last_line = last_line

    def __str__(self) -> str:
        return f"stage {self.stage} failed; see {self.log}, which ends: {self.last_line}"
