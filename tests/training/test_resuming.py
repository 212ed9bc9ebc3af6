"""A run that is killed and started again ends as if nothing had happened, to the last bit."""

import signal
import time

import pytest
import torch

KD = "criterion.name=self_evolution_kd"
LENGTH = (
    "regime.num_steps=24",
    "regime.checkpoint_every_n_steps=3",
    "regime.publish_metrics_every_n_steps=3",
    "regime.validate_every_n_steps=12",
    "regime.keep_last_n_checkpoints=2",
)


def weights(workshop, run, step):
    return torch.load(workshop.checkpoint(run, step) / "pp_00/tp_00/sdp_00.pt", weights_only=True)


@pytest.mark.parametrize(
    "criterion",
    [
        ("criterion.config.threshold={name: dynamic, config: {momentum: 0.7}}",),
        (
            "criterion.config.threshold.name=schedule",
            "criterion.config.threshold.config={start: 3, end: 1, num_steps: 24}",
            "criterion.config.beta={start: 0.9, end: 0.5, num_steps: 20, shape: cosine}",
        ),
    ],
)
def test_a_killed_run_resumes_to_the_same_bits(taught, criterion):
    settings = (taught.teacher("teacher", 8), KD, *criterion, *LENGTH)
    settings += ("model.config_overrides.dropout_p=0.1",)
    taught.train("whole", *settings)

    process = taught.start("killed", *settings)
    seen = taught.folder / "killed" / "checkpoints" / "step_9"
    while not seen.is_dir() and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not taught.checkpoint("killed", 24).exists(), "it was over before it could be killed"
    log = taught.train("killed", *settings)

    assert "Resuming from step" in log
    whole, killed = weights(taught, "whole", 24), weights(taught, "killed", 24)
    assert all(torch.equal(whole[name], killed[name]) for name in whole)
    last, resumed = taught.metrics("whole")[-1], taught.metrics("killed")[-1]
    for name in ("Loss", "Gamma", "Beta", "Hard Ratio", "Difficulty p90"):
        assert last[name] == resumed[name]


def test_a_finished_run_started_again_does_nothing_more(workshop):
    workshop.train("run")
    before = weights(workshop, "run", 8)
    metrics = workshop.metrics("run")

    workshop.train("run")

    after = weights(workshop, "run", 8)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert workshop.metrics("run") == metrics
