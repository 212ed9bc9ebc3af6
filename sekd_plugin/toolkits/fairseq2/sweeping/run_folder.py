"""What a sweep reads from the folder of a training."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from sekd_plugin.errors import SekdError
from sekd_plugin.programs.last_record import last_record
from sekd_plugin.toolkits.fairseq2.checkpoint_choice import chosen_checkpoint

_BLEU = "BLEU"


@dataclass(frozen=True)
class BestCheckpoint:
    """The checkpoint that is best on the validation set."""

    step: int
    """Its step."""

    bleu: float
    """Its BLEU."""


def best_checkpoint(run: Path) -> BestCheckpoint:
    """The checkpoint of a run with the highest BLEU on the validation set.

    Raises:
        SekdError: there is none with a score.
    """
    step = chosen_checkpoint(run, "best").parent.name
    score = run / "checkpoints" / "scores" / f"{step}.txt"
    return BestCheckpoint(int(step.removeprefix("step_")), float(score.read_text(encoding="utf-8")))


def bleu_by_step(run: Path) -> dict[int, float]:
    """BLEU on the validation set at every step that has it."""
    found = {}
    try:
        lines = _metrics(run, "valid/bleu").read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    for line in lines:
        try:
            record = json.loads(line)
            found[int(record["Step"])] = float(record[_BLEU])
        except (ValueError, KeyError, TypeError):
            continue  # half a line: the run was killed there
    return found


def bleu_at(run: Path, step: int) -> float:
    """BLEU on the validation set at a step.

    Raises:
        SekdError: the run has none.
    """
    found = bleu_by_step(run)
    if step not in found:
        raise SekdError(f"{_metrics(run, 'valid/bleu')} has no BLEU at step {step}")
    return found[step]


def last_training_record(run: Path) -> tuple[int, float] | None:
    """Step and loss of the last report; None before the first."""
    return last_record(
        _metrics(run, "train"), lambda record: (int(record["Step"]), float(record["Loss"]))
    )


def last_bleu(run: Path) -> float | None:
    """The last BLEU on the validation set; None before the first."""
    return last_record(_metrics(run, "valid/bleu"), lambda record: float(record[_BLEU]))


def _metrics(run: Path, split: str) -> Path:
    return run / "metrics" / f"{split}.jsonl"
