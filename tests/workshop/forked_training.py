"""Work forked as one rank, or as the several that ``torchrun`` would start: torch is there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

import torch
from forked_programs import ForkedProgram, start_work
from torch.distributed import TCPStore

import sekd_plugin.commands.cache_teacher
import sekd_plugin.commands.train  # noqa: F401  # both before the first fork
from sekd_plugin.cli import main


@dataclass
class ForkedRanks:
    """The ranks of a command, with as much of :class:`subprocess.Popen` as tests use."""

    ranks: list[ForkedProgram] | list[subprocess.Popen]
    log: Path
    store: TCPStore | None = None
    """Where ranks meet, for as long as this lives."""

    @property
    def returncode(self):
        """0 when every rank has ended well, else the code of one that has not."""
        codes = [rank.poll() for rank in self.ranks]
        return next((code for code in codes if code), None if None in codes else 0)

    def poll(self):
        return self.returncode

    def send_signal(self, number):
        for rank in self.ranks:
            rank.send_signal(number)

    def communicate(self):
        """Wait for the end; what was printed, and nothing."""
        for rank in self.ranks:
            if rank.wait() != 0:
                self.send_signal(signal.SIGKILL)  # the others would wait for it
        return self.log.read_text(encoding="utf-8"), None

    def output(self):
        """What was printed, once all have ended well."""
        printed, _ = self.communicate()
        assert self.returncode == 0, printed
        return printed


def fork_ranks(command, log, ranks=1):
    """Start ``sekd COMMAND``, its output in ``log``.

    Where there is a GPU, which does not survive a fork, it is started as a program.
    """
    if torch.cuda.is_available():
        return ForkedRanks([start_program(command, log, ranks)], log)
    return fork_work(partial(main, list(command)), log, ranks)


def fork_work(work, log, ranks):
    """Start ``work()``, which returns an exit code, on ranks; all that they print is in ``log``."""
    if ranks == 1:
        return ForkedRanks([start_work(work, log)], log)
    store = TCPStore(
        "127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=timedelta(minutes=1)
    )
    programs = [
        start_work(work, log, environment(rank, ranks, store.port)) for rank in range(ranks)
    ]
    return ForkedRanks(programs, log, store)


def fork_training(workshop, run, *settings, ranks=1):
    """Start ``sekd train`` with the recipe of a workshop."""
    command = ("train", str(workshop.folder / run), *workshop.arguments(settings))
    return fork_ranks(command, workshop.folder / f"{run}.log", ranks)


def environment(rank, ranks, port):
    """What ``torchrun`` tells a rank, of which its agent keeps the store."""
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(ranks),
        "LOCAL_WORLD_SIZE": str(ranks),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }


def start_program(command, log, ranks):
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    words = [sys.executable, *(launcher if ranks > 1 else ()), "-m", "sekd_plugin", *command]
    with log.open("ab") as output:
        return subprocess.Popen(
            words, stdout=output, stderr=output, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
