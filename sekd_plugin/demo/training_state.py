"""How far a training is, seen from its metrics file."""

from __future__ import annotations

import json
import os
from pathlib import Path

from sekd_plugin.demo.stage import State

_TAIL = 8192
"""Bytes that hold the last complete record for certain."""


def training_state(run: Path, num_steps: int) -> State | None:
    """Step and loss of the last record of ``metrics/train.jsonl``; None before the first."""
    file = run / "metrics" / "train.jsonl"
    try:
        with file.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - _TAIL))
            lines = stream.read().splitlines()
    except OSError:
        return None
    for line in reversed(lines):
        try:
            record = json.loads(line)
            step, loss = int(record["Step"]), float(record["Loss"])
        except (ValueError, KeyError, TypeError):
            continue  # half a line: it is being written, or the run was killed there
        return State(done=step, total=num_steps, unit="step", loss=loss)
    return None
