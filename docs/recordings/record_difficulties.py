"""Records the difficulties that the pictures of the thresholds are drawn from.

    python docs/recordings/record_difficulties.py runs/demo

It takes the corpus, the teacher and the student that ``make demo`` left in ``runs/demo`` and
trains two short runs with the recipe ``recipes/demo/self_evolution_kd.yaml``: one continues the
student, one begins with random weights. Γ is infinite in both, so that no threshold has had a hand
in the difficulties. ``difficulties.npz``, beside this file, then holds for each run one row a step:
128 evenly spaced quantiles of the difficulties of all target tokens of that step, as float16.

The recorder is itself a threshold that the recipe names, so nothing else is needed to watch a run.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import numpy
import torch
import yaml

from sekd_plugin.demo.layout import Layout
from sekd_plugin.thresholds import FixedThreshold

HERE = Path(__file__).resolve().parent
RECIPES = HERE.parents[1] / "recipes" / "demo"
NUM_QUANTILES = 128


class RecordingThreshold(FixedThreshold):
    """Every token is easy, and each step's difficulties are written down.

    Args:
        file: where to; a step appends its quantiles.
    """

    def __init__(self, file: str) -> None:
        super().__init__(gamma=float("inf"))
        self._file = Path(file)

    def step(self, difficulty: torch.Tensor) -> None:
        """Append the quantiles of a finished step."""
        levels = numpy.linspace(0.0, 1.0, NUM_QUANTILES)
        quantiles = numpy.quantile(difficulty.double().cpu().numpy(), levels)
        with self._file.open("ab") as out:
            out.write(quantiles.astype(numpy.float16).tobytes())


def main() -> None:
    """Train both runs and write the recording."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("demo", type=Path, help="the folder of a finished demo")
    parser.add_argument("--steps", type=int, default=301, help="optimizer steps of each run")
    parser.add_argument("--output", type=Path, default=HERE / "difficulties.npz")
    args = parser.parse_args()
    layout = Layout(args.demo.resolve())
    student = layout.model("student", _num_steps("student"))
    starts = {"continued": [f"model.path={student}"], "from_scratch": []}
    runs = {name: _record(layout, settings, args.steps) for name, settings in starts.items()}
    with args.output.open("wb") as out:
        numpy.savez_compressed(out, allow_pickle=False, **runs)
    print(f"{args.output}: {args.output.stat().st_size / 1000:.0f} kB")


def _record(layout: Layout, settings: list[str], steps: int) -> numpy.ndarray[Any, Any]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "quantiles"
        command = [sys.executable, "-m", "sekd_plugin", "train", f"{folder}/run"]
        command += ["--config-file", str(RECIPES / "self_evolution_kd.yaml"), "--config"]
        command += [
            f"tokenizer.path={layout.vocabulary}",
            f"dataset.train=[{{path: {layout.split('train')}}}]",
            f"teacher.path={layout.model('teacher', _num_steps('teacher'))}",
            "criterion.config.threshold="
            f"{{name: 'record_difficulties:RecordingThreshold', config: {{file: {file}}}}}",
            f"regime.num_steps={steps}",
            "regime.checkpoint_every_n_steps=null",
            "regime.validate_every_n_steps=null",
            "regime.validate_at_start=false",
            *settings,
        ]
        subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(HERE)})
        # The last step is closed by the one after it, which never comes.
        return numpy.fromfile(file, dtype=numpy.float16).reshape(-1, NUM_QUANTILES)


def _num_steps(stage: str) -> int:
    content = yaml.safe_load((RECIPES / f"{stage}.yaml").read_text(encoding="utf-8"))
    return int(content["regime"]["num_steps"])


if __name__ == "__main__":
    main()
