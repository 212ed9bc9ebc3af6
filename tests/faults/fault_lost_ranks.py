"""One of two ranks is killed: the job ends, says which, and resumes."""

import os
import signal
import time

import pytest
from interruptions import finish, same_bits, steps, weights
from rank_processes import rank_processes

STEPS = 200
SETTINGS = (
    f"regime.num_steps={STEPS}",
    "regime.publish_metrics_every_n_steps=5",
    "regime.validate_every_n_steps=null",
    "regime.checkpoint_every_n_steps=10",
    "gang.timeout=1",
)


@pytest.mark.parametrize("rank", [0, 1])
def fault_a_killed_rank_ends_the_job_and_is_named(workshop, figure, rank):
    whole = workshop.start("whole", *SETTINGS, processes=2)
    finish(whole)
    run = workshop.folder / "killed"
    process = workshop.start("killed", *SETTINGS, processes=2)
    while not (run / "checkpoints/step_20").is_dir() and process.poll() is None:
        time.sleep(0.002)
    killed = time.monotonic()
    victim = rank_processes(process.pid)[rank]
    os.kill(victim, signal.SIGKILL)
    said, _ = process.communicate(timeout=90)
    took = time.monotonic() - killed

    assert process.returncode == 1
    # torchrun's report of the first failure
    report = said.rpartition("Root Cause")[2]
    assert f"rank      : {rank} " in report and "exitcode  : -9" in report
    assert "Traceback" not in said.partition("torch/distributed/elastic")[0], said
    assert f"rank {1 - rank} of 2 lost another process" in said, said
    assert not (run / f"checkpoints/step_{STEPS}").exists()

    resumed = workshop.start("killed", *SETTINGS, processes=2)
    finish(resumed)
    assert same_bits(weights(workshop, "whole", STEPS), weights(workshop, "killed", STEPS))
    assert steps(workshop, "killed") == list(range(5, STEPS + 1, 5))
    figure(f"over {took:.1f} s after the kill (gang.timeout is 60 s); resumed to the same bits")
