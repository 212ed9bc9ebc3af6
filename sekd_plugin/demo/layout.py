"""Where everything lies in the demo's output folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

CORPUS = "corpus"
EVALUATION = "evaluation"


@dataclass(frozen=True)
class Layout:
    """The output folder of a demo."""

    root: Path
    """The folder, as an absolute path."""

    @property
    def corpus(self) -> Path:
        """Clean splits and the vocabulary."""
        return self.root / CORPUS

    @property
    def vocabulary(self) -> Path:
        """The SentencePiece model."""
        return self.corpus / "vocabulary.model"

    def split(self, name: str) -> Path:
        """``train``, ``valid`` or ``test``."""
        return self.corpus / f"{name}.jsonl"

    def run(self, name: str) -> Path:
        """The folder of a training."""
        return self.root / name

    def model(self, name: str, num_steps: int) -> Path:
        """A training's last checkpoint."""
        return self.run(name) / "checkpoints" / f"step_{num_steps}" / "model"

    @property
    def evaluation(self) -> Path:
        """Scores and translations."""
        return self.root / EVALUATION

    @property
    def report(self) -> Path:
        """The page."""
        return self.root / "report.html"

    def log(self, stage: str) -> Path:
        """What a stage's programs printed."""
        return self.root / "logs" / f"{stage}.log"

    def record(self, stage: str) -> Path:
        """That a stage is finished, and of what it was made."""
        return self.root / "stages" / f"{stage}.json"

    @property
    def lock(self) -> Path:
        """Held by the demo that is at work here, and by its programs."""
        return self.root / "stages" / "lock"
