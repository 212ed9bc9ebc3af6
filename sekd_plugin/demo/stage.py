"""One stage of the demo: what it runs, what it is made from, what it leaves behind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sekd_plugin.programs.process import Command


@dataclass(frozen=True, kw_only=True)
class State:
    """How far a stage has come."""

    done: int
    """Of ``total``."""

    total: int
    """What is to do."""

    unit: str
    """What is counted, such as ``step``."""

    loss: float | None = None
    """The latest training loss, in nats a token."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage."""

    name: str
    """Its name, also of its log and record."""

    commands: tuple[Command, ...] = ()
    """The ``sekd`` commands that it runs, one after the other."""

    action: Callable[[], None] | None = None
    """What it does without a command, before them."""

    folder: Path
    """What to remove to have it done anew."""

    made_from: Mapping[str, Any]
    """All that decides its result, beside the stages that it needs; plain values."""

    needs: tuple[str, ...] = ()
    """The stages whose results it uses."""

    redo: bool = False
    """Whether it is cheap enough to be done anew unasked when what it is made from changes."""

    results: tuple[Path, ...]
    """What is there when it is finished."""

    state: Callable[[], State | None] = lambda: None
    """Looks how far it is, from outside."""

    expected_seconds: float = 0.0
    """How long it takes on a quiet machine."""
