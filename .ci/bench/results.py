"""The results file, whole at any moment."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def write_results(folder: Path, results: dict[str, Any]) -> Path:
    """Write ``results.json``; who reads it never sees half of it."""
    file = folder / "results.json"
    beside = file.with_suffix(".new")
    beside.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(beside, file)
    return file
