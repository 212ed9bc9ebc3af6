"""A tiny sweep over a recipe that trains in about a second."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from forked_programs import fork_commands
from tiny_recipe import Workshop, shared_folder, taught, teacher_run, workshop, write_pairs

import sekd_plugin.commands.evaluate
import sekd_plugin.commands.sweep
import sekd_plugin.commands.train  # noqa: F401  # all before the first fork
from sekd_plugin.cli import main

__all__ = ["shared_folder", "taught", "teacher_run", "workshop"]


@dataclass
class Sweeping:
    """A sweep file, and where it is swept."""

    workshop: Workshop
    file: Path
    out: Path

    def write(self, **changes):
        content = {
            "recipe": str(self.workshop.recipe),
            "seeds": [1, 2],
            "settings": {
                "translation": {"bleu": True, "max_sentences": 8, "max_target_tokens": 12},
                "regime.score_metric": "bleu",
                "regime.validate_every_n_steps": 4,
                "regime.checkpoint_every_n_steps": 4,
            },
            "test": {"path": str(self.workshop.folder / "test.jsonl"), "bootstrap_samples": 20},
            **changes,
        }
        text = yaml.safe_dump({key: value for key, value in content.items() if value is not None})
        self.file.write_text(text, encoding="utf-8")

    def run(self, *options, expect=0):
        """Sweep; return what was printed on standard output and error."""
        self.workshop.capture()
        code = main(["sweep", str(self.file), str(self.out), "--jobs", "2", *options])
        out, error = self.workshop.capture()
        assert code == expect, error
        return out, error

    def results(self):
        return json.loads((self.out / "results.json").read_text())

    def record(self, run):
        return json.loads((self.out / "records" / f"{run}.json").read_text())


@pytest.fixture
def sweeping(workshop, monkeypatch):
    """A sweep whose programs need no start-up."""
    fork_commands(monkeypatch)
    write_pairs(workshop.folder / "test.jsonl", 12, seed=3)
    return Sweeping(workshop, workshop.folder / "sweep.yaml", workshop.folder / "sweep")
