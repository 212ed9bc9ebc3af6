"""A long training with a checkpoint every few seconds: memory and disk stay as they are.

``make soak`` takes half an hour; ``make soak MINUTES=5`` less.
"""

import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from interruptions import steps

MINUTES = float(os.environ.get("MINUTES") or 30)
EVERY = 1.0
WARM_UP = 0.2
SETTINGS = (
    "criterion.name=self_evolution_kd",
    "criterion.config.threshold={name: dynamic, config: {statistic: quantile, quantile: 0.7}}",
    "regime.num_steps=100000000",
    "regime.publish_metrics_every_n_steps=50",
    "regime.validate_every_n_steps=1000",
    "regime.checkpoint_every_n_steps=50",
    "regime.keep_last_n_checkpoints=2",
)
PAGE = os.sysconf("SC_PAGE_SIZE")


def resident(process):
    return int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * PAGE


def size(folder):
    """Bytes of all files; those that go away meanwhile do not count."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(parent, name)).st_size
            except FileNotFoundError:
                continue
    return total


def growth(values):
    """How much the median of the last fifth is above that of the first one after warming up."""
    warm = values[int(WARM_UP * len(values)) :]
    fifth = max(1, len(warm) // 5)
    return statistics.median(warm[-fifth:]) - statistics.median(warm[:fifth])


@pytest.mark.timeout(int(60 * MINUTES) + 300)
def soak_memory_and_disk_stay_flat(taught, figure):
    settings = (taught.teacher("teacher", 8), *SETTINGS)
    run = taught.folder / "run"
    output = (taught.folder / "output.txt").open("w")
    process = subprocess.Popen(
        [sys.executable, "-m", "sekd_plugin", "train", str(run), *taught.arguments(settings)],
        stdout=output,
        stderr=subprocess.STDOUT,
    )
    memory, disk, seen = [], [], set()
    until = None
    while until is None or time.monotonic() < until:
        time.sleep(EVERY if until else 0.05)
        assert process.poll() is None, (taught.folder / "output.txt").read_text()[-3000:]
        if not (run / "checkpoints").is_dir():
            continue
        saved = {name for name in os.listdir(run / "checkpoints") if name[5:].isdecimal()}
        seen |= saved
        if until is None and saved:
            until = time.monotonic() + 60.0 * MINUTES
        elif until is not None:
            memory.append(resident(process))
            disk.append(size(run / "checkpoints"))
            assert len(saved) <= 3
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 128 + signal.SIGTERM
    last = (taught.folder / "output.txt").read_text().splitlines()[-1]
    assert last.startswith("sekd train: stopped by SIGTERM after step ")
    step = int(last.split("after step ")[1].partition(";")[0])
    records = steps(taught, "run")
    assert records == [*range(50, step, 50), step]
    state = torch.load(taught.checkpoint("run", step) / "pp_00/tp_00/sdp_00.pt", weights_only=True)
    assert all(bool(torch.isfinite(value).all()) for value in state.values())

    figure(
        f"{MINUTES:g} minutes, {step:,} steps, {step // 50:,} checkpoints (one in "
        f"{60 * MINUTES / (step / 50):.1f} s); memory {memory[0] / 2**20:.1f} to "
        f"{memory[-1] / 2**20:.1f} MiB, growth after warming up {growth(memory) / 2**20:+.2f} MiB; "
        f"checkpoints {statistics.median(disk) / 1024:.0f} KiB, growth {growth(disk) / 1024:+.1f} "
        f"KiB; metrics and logs {(size(run) - disk[-1]) / 2**20:.2f} MiB"
    )
    assert growth(memory) < 0.02 * statistics.median(memory)
    assert abs(growth(disk)) < 0.5 * statistics.median(disk)
