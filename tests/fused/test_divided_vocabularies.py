"""Words divided among real gloo processes: the loss and gradients of one process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from divided_vocabulary import CASES, loss_of

WORKER = Path(__file__).parents[1] / "workshop" / "divided_vocabulary.py"


@pytest.fixture(scope="module", params=[2, 4])
def ranks(request, tmp_path_factory):
    """What each rank found, case by case."""
    folder = tmp_path_factory.mktemp("ranks")
    processes = [
        subprocess.Popen(
            [sys.executable, WORKER, folder, str(rank), str(request.param)],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        for rank in range(request.param)
    ]
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    return [
        torch.load(folder / f"rank_{rank}.pt", weights_only=True) for rank in range(len(processes))
    ]


@pytest.mark.parametrize("case", CASES)
def test_the_result_is_that_of_one_process(case, ranks):
    alone = loss_of(case, 0, 1, None)
    found = [rank[case] for rank in ranks]
    for name in ("loss", "difficulty", "hard", "token_loss", "cross_entropy", "agreement"):
        for each in found:
            torch.testing.assert_close(each[name], alone[name], msg=name)
    for each in found:
        torch.testing.assert_close(each["by_hidden"], alone["by_hidden"])
    for name in ("by_weight", "by_bias"):
        torch.testing.assert_close(torch.cat([each[name] for each in found]), alone[name])
