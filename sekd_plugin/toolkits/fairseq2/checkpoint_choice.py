"""Which checkpoint of a training run is meant: ``FOLDER``, ``FOLDER@step_N``, ``FOLDER@best``."""

from __future__ import annotations

from pathlib import Path

from sekd_plugin.errors import SekdError, did_you_mean


def run_and_choice(name: str) -> tuple[Path, str]:
    """The run's folder and the choice of checkpoint, ``last`` where none is written.

    The choice stands behind the last ``@``; a folder may have an ``@`` in its name.
    """
    whole = Path(name)
    folder, _, choice = name.rpartition("@")
    if whole.is_dir() or not folder or "/" in choice:
        return whole, "last"
    return Path(folder), choice or "last"


def chosen_checkpoint(run: Path, choice: str) -> Path:
    """The folder of the model's weights.

    Args:
        run: the run's folder.
        choice: ``step_N``, ``last``, or ``best``: the highest score that the run recorded for a
            checkpoint it still has.

    Raises:
        SekdError: there is no such run or no such checkpoint.
    """
    if not run.is_dir():
        near = [path.name for path in run.parent.iterdir()] if run.parent.is_dir() else []
        raise SekdError(f"{run} is not a folder; {did_you_mean(run.name, near)}")
    if not (run / "config.yaml").is_file():
        raise SekdError(f"{run} is not a training run's folder: it has no config.yaml")
    steps = _steps(run)
    name = steps[-1] if choice == "last" else choice
    if choice == "best":
        name = _best(run, steps)
    if name not in steps:
        raise SekdError(
            f"{run} has no checkpoint '{choice}'; {did_you_mean(choice, [*steps, 'best', 'last'])}"
        )
    return run / "checkpoints" / name / "model"


def chosen_checkpoints(run: Path, choice: str) -> list[Path]:
    """The same, where ``all`` stands for every checkpoint, by rising step."""
    if choice != "all":
        return [chosen_checkpoint(run, choice)]
    chosen_checkpoint(run, "last")
    return [run / "checkpoints" / name / "model" for name in _steps(run)]


def _steps(run: Path) -> list[str]:
    numbers = [
        path.parent.name.removeprefix("step_") for path in run.glob("checkpoints/step_*/model")
    ]
    steps = [f"step_{number}" for number in sorted(filter(str.isdecimal, numbers), key=int)]
    if not steps:
        raise SekdError(f"{run} holds no checkpoint yet")
    return steps


def _best(run: Path, steps: list[str]) -> str:
    scores = {}
    for step in steps:
        file = run / "checkpoints" / "scores" / f"{step}.txt"
        if file.is_file():
            try:
                scores[step] = float(file.read_text(encoding="utf-8"))
            except ValueError:
                raise SekdError(f"{file} holds no number") from None
    if not scores:
        raise SekdError(
            f"{run} holds no scored checkpoint; set regime.score_metric in its recipe, or name "
            f"one of {', '.join(steps)}"
        )
    # The later of two equal ones, as fairseq2 ranks them.
    return max(scores, key=lambda step: (scores[step], steps.index(step)))
