"""Ranks as processes, forked so that torch is loaded once.

``python -m ranks_in_processes MODULE FOLDER RANKS`` runs ``one_rank(folder, rank, ranks)`` of a
module in each.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from functools import partial
from importlib import import_module

import torch
from forked_programs import fork


def run_ranks(module, folder, ranks):
    """Run a module's ``one_rank(folder, rank, ranks)`` in each of so many processes.

    A process that has used a GPU cannot be forked to do it: a program is started then.
    """
    if not torch.cuda.is_available():
        assert fork_ranks(module.one_rank, folder, ranks) == 0
        return
    subprocess.run(
        [sys.executable, "-m", "ranks_in_processes", module.__name__, str(folder), str(ranks)],
        check=True,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "OMP_NUM_THREADS": "1",
        },
    )


def fork_ranks(one_rank, folder, ranks):
    """Run ``one_rank(folder, rank, ranks)`` in each of so many forks; 0 when all ended well."""

    def work(rank):
        torch.set_num_threads(1)
        one_rank(folder, rank, ranks)
        return 0

    programs = [fork(partial(work, rank)) for rank in range(ranks)]
    for program in programs:
        if program.wait() != 0:
            for other in programs:
                other.send_signal(signal.SIGKILL)  # they would wait for it
    return int(any(program.wait() != 0 for program in programs))


if __name__ == "__main__":
    sys.exit(fork_ranks(import_module(sys.argv[1]).one_rank, sys.argv[2], int(sys.argv[3])))
