"""``kill -9`` at twenty random moments of one training, also while a checkpoint is written."""

import json
import os
import random
import signal
import time

from interruptions import same_bits, steps, weights

KILLS = 20
STEPS = 400
SEED = 7
TIMES = {"Time", "Data Time", "Compute Time", "Lapse Time", "Total Time", "Wall Time"}
SETTINGS = (
    "criterion.name=self_evolution_kd",
    "criterion.config.threshold={name: dynamic, config: {momentum: 0.7}}",
    "criterion.config.beta={start: 0.9, end: 0.5, num_steps: 300, shape: cosine}",
    "model.config_overrides.dropout_p=0.1",
    f"regime.num_steps={STEPS}",
    "regime.publish_metrics_every_n_steps=1",
    "regime.validate_every_n_steps=50",
    "regime.checkpoint_every_n_steps=5",
    "regime.keep_last_n_checkpoints=2",
)


def measured(workshop, run, split):
    """A metrics file's records without what depends on the clock."""
    return [
        {
            name: value
            for name, value in record.items()
            if name not in TIMES and "per Second" not in name and "Memory" not in name
        }
        for record in workshop.metrics(run, split)
    ]


def wait_at_start(process, draw, run):
    """Some moment of the start: imports, models, reading the state back."""
    until = time.monotonic() + draw.uniform(0.5, 9.0)
    while time.monotonic() < until and process.poll() is None:
        time.sleep(0.01)


def wait_for_steps(process, draw, run):
    """Some steps further than its last checkpoint, and a moment within the next one."""
    begin = time.time()
    file = run / "metrics" / "train.jsonl"
    saved = [int(path.name[5:]) for path in (run / "checkpoints").glob("step_*[0-9]")]
    further = max(saved, default=0) + draw.randint(1, 14)
    while process.poll() is None:
        if file.exists() and file.stat().st_mtime > begin and last_step(file) >= further:
            break
        time.sleep(0.002)
    time.sleep(draw.uniform(0.0, 0.02))


def last_step(file):
    lines = file.read_bytes().splitlines(keepends=True)[-2:]
    return max((json.loads(line)["Step"] for line in lines if line.endswith(b"\n")), default=0)


def wait_for_writing(process, draw, run):
    """While the files of a checkpoint are being written."""
    past = draw.randint(0, 2)
    seen = set()
    while process.poll() is None and len(seen) <= past:
        if (run / "checkpoints").is_dir():
            seen |= {name for name in os.listdir(run / "checkpoints") if name.endswith(".tmp")}
    time.sleep(draw.uniform(0.0, 0.004))


def fault_twenty_kills_change_not_one_bit(taught, figure):
    settings = (taught.teacher("teacher", 8), *SETTINGS)
    taught.train("whole", *settings)
    run = taught.folder / "killed"
    draw = random.Random(SEED)
    waits = [wait_for_writing] * 9 + [wait_for_steps] * 7 + [wait_at_start] * 4
    draw.shuffle(waits)

    half_written = repeated = 0
    for wait in waits[:KILLS]:
        process = taught.start("killed", *settings)
        wait(process, draw, run)
        assert process.poll() is None, (
            f"it ended before it could be killed:\n{process.stdout.read()}"
        )
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if (run / "checkpoints").is_dir():
            names = os.listdir(run / "checkpoints")
            half_written += any(name.endswith(".tmp") for name in names)
            saved = [int(name[5:]) for name in names if name[5:].isdecimal()]
            if (run / "metrics/train.jsonl").exists():
                lines = (run / "metrics/train.jsonl").read_bytes().count(b"\n")
                repeated += max(0, lines - max(saved, default=0))
    log = taught.train("killed", *settings)

    assert "Resuming from step" in log
    assert same_bits(weights(taught, "whole", STEPS), weights(taught, "killed", STEPS))
    assert steps(taught, "killed") == list(range(1, STEPS + 1))
    for split in ("train", "valid"):
        assert measured(taught, "killed", split) == measured(taught, "whole", split)
    assert not list((run / "checkpoints").glob("*.tmp"))
    assert half_written >= 3, "too few kills came while a checkpoint was written"
    figure(
        f"{KILLS} kills, {half_written} of them with a checkpoint half written; {repeated} steps "
        f"were done again; the weights and all {STEPS} records equal the uninterrupted run's"
    )
