"""How far a training is, seen from its metrics file."""

from __future__ import annotations

from pathlib import Path

from sekd_plugin.demo.stage import State
from sekd_plugin.programs.last_record import last_record


def training_state(run: Path, num_steps: int) -> State | None:
    """Step and loss of the last record of ``metrics/train.jsonl``; None before the first."""
    return last_record(
        run / "metrics" / "train.jsonl",
        lambda record: State(
            done=int(record["Step"]), total=num_steps, unit="step", loss=float(record["Loss"])
        ),
    )
