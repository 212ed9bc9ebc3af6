"""Ctrl-C and SIGTERM, to one process and to two under torchrun."""

import os
import signal
import time

import pytest
from interruptions import finish, same_bits, steps, weights
from rank_processes import rank_processes

STEPS = 300
SETTINGS = (
    f"regime.num_steps={STEPS}",
    "regime.publish_metrics_every_n_steps=1",
    "regime.validate_every_n_steps=null",
    "regime.checkpoint_every_n_steps=100000",
)


def wait_for_a_step(process, run):
    file = run / "metrics" / "train.jsonl"
    while process.poll() is None and (not file.exists() or file.stat().st_size == 0):
        time.sleep(0.002)
    assert process.poll() is None, process.stdout.read()


def stopped_at(run):
    return max(int(path.name[5:]) for path in (run / "checkpoints").glob("step_*"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def fault_one_process_is_asked_to_stop(workshop, figure, number):
    workshop.train("whole", *SETTINGS)
    run = workshop.folder / "stopped"
    process = workshop.start("stopped", *SETTINGS)
    wait_for_a_step(process, run)
    asked = time.monotonic()
    process.send_signal(number)
    said, _ = process.communicate(timeout=60)
    took = time.monotonic() - asked

    assert process.returncode == 128 + number
    step = stopped_at(run)
    assert 0 < step < STEPS
    assert said.splitlines()[-1] == (
        f"sekd train: stopped by {number.name} after step {step}; the same command resumes from "
        f"{run}/checkpoints/step_{step}"
    )
    workshop.train("stopped", *SETTINGS)
    assert same_bits(weights(workshop, "whole", STEPS), weights(workshop, "stopped", STEPS))
    assert steps(workshop, "stopped") == list(range(1, STEPS + 1))
    figure(f"step {step} saved, the process over {took:.1f} s after the signal")


@pytest.mark.parametrize("who", ["the launcher", "one rank alone"])
def fault_two_ranks_are_asked_to_stop(workshop, figure, who):
    whole = workshop.start("whole", *SETTINGS, processes=2)
    finish(whole)
    run = workshop.folder / "stopped"
    process = workshop.start("stopped", *SETTINGS, processes=2)
    wait_for_a_step(process, run)
    asked = time.monotonic()
    ranks = rank_processes(process.pid)
    os.kill(process.pid if who == "the launcher" else ranks[1], signal.SIGTERM)
    said, _ = process.communicate(timeout=60)
    took = time.monotonic() - asked

    step = stopped_at(run)
    assert 0 < step < STEPS, said
    assert f"after step {step}; the same command resumes from {run}" in said
    resumed = workshop.start("stopped", *SETTINGS, processes=2)
    finish(resumed)
    assert same_bits(weights(workshop, "whole", STEPS), weights(workshop, "stopped", STEPS))
    assert steps(workshop, "stopped") == list(range(1, STEPS + 1))
    figure(f"both ranks stopped after step {step}, over {took:.1f} s after the signal")
