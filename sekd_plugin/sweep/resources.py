"""How many runs a machine can do at once, and what each of them gets."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

PROCESS_BYTES = 1_200_000_000
"""What a training process takes on a CPU beside what is planned: Python, PyTorch, the corpus."""


@dataclass(frozen=True, kw_only=True)
class Slots:
    """Places for runs."""

    count: int
    """How many run at once."""

    threads: int
    """CPU threads of each."""

    devices: tuple[str, ...] = ()
    """The GPUs, as ``CUDA_VISIBLE_DEVICES`` names them; slots take turns."""

    def environment(self, slot: int) -> Mapping[str, str]:
        """The variables of a program in a slot; what the user has set himself stays."""
        names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
        # PyTorch takes MKL's number where both are there, so one that the user has set is both.
        own = [os.environ[name] for name in names if os.environ.get(name)]
        found = {name: own[0] if own else str(self.threads) for name in names}
        found = {name: value for name, value in found.items() if name not in os.environ}
        if self.devices:
            found["CUDA_VISIBLE_DEVICES"] = self.devices[slot % len(self.devices)]
        return found


def available_slots(jobs: int | None, run_bytes: int, num_runs: int) -> Slots:
    """Slots for runs on this machine.

    By itself it takes one run a GPU; without GPUs as many as there are cores and as fit into the
    free memory.

    Args:
        jobs: how many at once; None is as many as the machine allows.
        run_bytes: the memory of the largest run, beside what every process takes.
        num_runs: how many runs there are at most.
    """
    cores = available_cores()
    devices = visible_devices()
    if jobs is None:
        fitting = max(1, available_memory() // (PROCESS_BYTES + run_bytes))
        jobs = len(devices) if devices else min(cores, fitting)
    count = max(1, min(jobs, num_runs))
    return Slots(count=count, threads=max(1, cores // count), devices=devices)


def available_cores() -> int:
    """The cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        return os.cpu_count() or 1


def available_memory() -> int:
    """Bytes that are free, or that the control group still allows; very many where unknown."""
    found = [2**60]
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        found += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")]
        group = Path("/sys/fs/cgroup")
        limit = (group / "memory.max").read_text(encoding="ascii").strip()
        used = (group / "memory.current").read_text(encoding="ascii")
        if limit != "max":
            found.append(max(0, int(limit) - int(used)))
    except (OSError, ValueError):
        pass
    return min(found)


def visible_devices() -> tuple[str, ...]:
    """The GPUs that may be used, as ``CUDA_VISIBLE_DEVICES`` names them."""
    count = torch.cuda.device_count()
    named = [each for each in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if each]
    return tuple(named[:count] or map(str, range(count)))
