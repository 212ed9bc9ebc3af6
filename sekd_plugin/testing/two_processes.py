"""A threshold under two real gloo processes: ``python -m sekd_plugin.testing.two_processes``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch.distributed as dist

from sekd_plugin.testing.difficulty_stream import GivenDifficulty, Step, Stream
from sekd_plugin.thresholds import thresholds

_TIME_LIMIT_S = 120


def run_in_two_processes(
    choice: str | Mapping[str, object], stream: Stream
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Each rank's ``{"gamma": [Γ after each step], "hard": [the decision on the probe]}``.

    Rank 0 takes the micro-batches with even numbers, rank 1 the others, and each decides on the
    whole probe. Where the threshold decides over ranks, both take part in every micro-batch and in
    the probe, with a share of the tokens; ``hard`` is then what both say of their shares.

    Raises:
        RuntimeError: a process failed; the text is what it wrote last.
    """
    with tempfile.TemporaryDirectory() as folder:
        task = {
            "threshold": choice if isinstance(choice, str) else dict(choice),
            "steps": stream.steps,
            "probe": stream.probe,
            "folder": folder,
        }
        task_file = Path(folder) / "task.json"
        task_file.write_text(json.dumps(task))
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "OMP_NUM_THREADS": "1",
        }
        processes = [
            subprocess.Popen(
                [sys.executable, "-m", __name__, str(task_file), str(rank)],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                env=environment,
            )
            for rank in range(2)
        ]
        try:
            for process in processes:
                _wait(process)
            first, second = (json.loads(_result(folder, rank).read_text()) for rank in range(2))
        finally:
            for process in processes:
                process.kill()
                process.wait()
    shares = [result.pop("of_a_share") for result in (first, second)]
    if all(shares):
        first["hard"] = second["hard"] = first["hard"] + second["hard"]
    return first, second


def _wait(process: subprocess.Popen[str]) -> None:
    _, errors = process.communicate(timeout=_TIME_LIMIT_S)
    if process.returncode != 0:
        raise RuntimeError(errors.strip().splitlines()[-1] if errors.strip() else "no message")


def _result(folder: str, rank: int) -> Path:
    # A file, because gloo writes to stdout as well.
    return Path(folder) / f"result_{rank}.json"


def main() -> None:
    """Run one rank of the task in the file that is named; its result is a file beside it."""
    task, rank = json.loads(Path(sys.argv[1]).read_text()), int(sys.argv[2])
    meeting_point = f"file://{task['folder']}/ranks"
    dist.init_process_group("gloo", init_method=meeting_point, rank=rank, world_size=2)
    criterion = GivenDifficulty(thresholds.create(task["threshold"], "threshold"))
    criterion.gather_over_ranks = True
    together = criterion.threshold.decides_over_ranks
    gammas = [
        criterion.run(_shares(step, rank) if together else tuple(step[rank::2])).gamma
        for step in task["steps"]
    ]
    (probe,) = _shares((task["probe"],), rank) if together else (task["probe"],)
    result = {"gamma": gammas, "hard": list(criterion.decide(probe)), "of_a_share": together}
    _result(task["folder"], rank).write_text(json.dumps(result))
    dist.destroy_process_group()


def _shares(step: Step, rank: int) -> Step:
    """The tokens of each micro-batch that a rank takes: the first third, or the rest."""
    ends = [len(micro_batch) // 3 for micro_batch in step]
    return tuple(
        micro_batch[end:] if rank else micro_batch[:end]
        for micro_batch, end in zip(step, ends, strict=True)
    )


if __name__ == "__main__":
    main()
