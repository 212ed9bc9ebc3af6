"""Where everything lies in a sweep's output folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


def run_key(trial: str, seed: int) -> str:
    """What a run is called: its place below each of the folders."""
    return f"{trial}/seed_{seed}"


@dataclass(frozen=True)
class Layout:
    """The output folder of a sweep."""

    root: Path
    """The folder."""

    @property
    def runs(self) -> Path:
        """The trainings' folders."""
        return self.root / "runs"

    @property
    def records(self) -> Path:
        """What is known of each run; that it is there makes a folder a sweep's."""
        return self.root / "records"

    @property
    def lock(self) -> Path:
        """Held by the sweep that is at work here, and by its programs."""
        return self.records / "lock"

    def run(self, key: str) -> Path:
        """The folder of a training, as ``sekd train`` leaves it."""
        return self.runs / key

    def record(self, key: str) -> Path:
        """The record of a run."""
        return self.records / f"{key}.json"

    def recipe(self, key: str) -> Path:
        """The recipe that a run is trained from."""
        return self.root / "recipes" / f"{key}.yaml"

    def log(self, key: str) -> Path:
        """What a run's programs printed."""
        return self.root / "logs" / f"{key}.log"

    def scores(self, key: str) -> Path:
        """The scores of a run on the test set, as ``sekd evaluate`` writes them."""
        return self.root / "scores" / f"{key}.json"

    def translations(self, key: str) -> Path:
        """A run's translations of the test set."""
        return self.root / "translations" / f"{key}.txt"

    def table(self, name: str) -> Path:
        """The folder of the results of some of the rows."""
        return self.root / "tables" / name

    def decisions(self, row: str) -> Path:
        """Which trials of a row were given up, and when."""
        return self.root / "halving" / f"{row}.json"
