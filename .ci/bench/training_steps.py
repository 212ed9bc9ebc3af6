"""How long a step of the demo's recipe takes under each criterion.

The real command trains: short runs in a folder that is thrown away, the criteria in turn, from one
student and one teacher. These have hardly been trained, which a step's time does not depend on.
Each run's first report is its warm-up.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.peer_folder import ROOT
from bench.processes import Progress, stop

_START_STEPS = 2
_REPORTS = 6


def measure_steps(folder: Path, *, steps: int, rounds: int, progress: Progress) -> dict[str, Any]:
    """Seconds of a step by criterion, one figure for each run."""
    from sekd_plugin.demo.layout import Layout
    from sekd_plugin.demo.plan import make_plan

    recipes = ROOT / "recipes" / "demo"
    layout = Layout(folder.resolve())
    often = max(1, steps // _REPORTS)
    begin = make_plan(layout, recipes, _START_STEPS, 50)
    stages = {stage.name: stage for stage in begin.stages}
    for name in ("prepare", "teacher", "student"):
        progress.tell(f"training steps: {name}", always=True)
        stage = stages[name]
        if stage.action is not None:
            stage.action()
        for words in stage.commands:
            _run(words, layout.log(name))
    seconds: dict[str, list[float]] = {name: [] for name in begin.settings.continuations}
    for number in range(rounds):
        for name in seconds:
            progress.tell(f"training steps: round {number + 1} of {rounds}, {name}", always=True)
            run = layout.root / f"{name}_{number}"
            (words,) = stages[name].commands
            settings = [
                f"regime.num_steps={steps}",
                f"regime.publish_metrics_every_n_steps={often}",
                "regime.validate_at_start=false",
                f"regime.validate_every_n_steps={steps}",
                f"regime.checkpoint_every_n_steps={steps}",
            ]
            given = [word for word in words[2:] if not word.startswith("regime.")]
            _run((words[0], str(run), *given, *settings), layout.log(name))
            seconds[name].append(_seconds_per_step(run / "metrics" / "train.jsonl", often))
    return {"steps": steps, "seconds_per_step": seconds}


def _run(words: tuple[str, ...], log: Path) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "sekd_plugin", *words], stdout=output, stderr=output
        )
        try:
            code = process.wait()
        finally:
            stop(process)
    if code != 0:
        lines = [line for line in log.read_text().splitlines() if line.strip()] or ["(nothing)"]
        raise RuntimeError(f"'sekd {words[0]}' ended with {code}: {lines[-1].strip()}"[:300])


def _seconds_per_step(metrics: Path, often: int) -> float:
    """Of all reports after the first; a report's lapse is that of its ``often`` steps."""
    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    lapses = [line["Lapse Time"] for line in lines if line["Step"] % often == 0][1:]
    if not lapses:
        raise RuntimeError("the training reported fewer than two times; more --steps are needed")
    return sum(lapses) / (often * len(lapses))
