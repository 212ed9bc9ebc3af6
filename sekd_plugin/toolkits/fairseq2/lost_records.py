"""Records of steps that a killed run has lost, taken out of its files."""

from __future__ import annotations

import json
import os
from pathlib import Path


def drop_lost_records(file: Path, last_step: int | None, *, key: str = "Step") -> int:
    """Keep the records of steps up to ``last_step`` in ``file``; return how many lines went.

    A line that is no record goes as well: the run was killed while it wrote it. The file is
    replaced whole or left as it is.

    Args:
        file: a metrics file, a JSON object with a step a line.
        last_step: the last step that counts; None where no step does.
        key: what the step is called there.
    """
    dropped = 0
    partial = file.with_name(f"{file.name}.partial")
    try:
        with file.open("rb") as lines, partial.open("wb") as kept:
            for line in lines:
                step = _step_of(line, key)
                if step is None or last_step is None or step > last_step:
                    dropped += 1
                else:
                    kept.write(line)
            kept.flush()
            os.fsync(kept.fileno())
        if dropped:
            partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)
    return dropped


def _step_of(line: bytes, key: str) -> int | None:
    if not line.endswith(b"\n"):
        return None
    try:
        step = json.loads(line)[key]
    except (ValueError, KeyError, TypeError):
        return None
    return step if isinstance(step, int) else None
