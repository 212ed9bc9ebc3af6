"""A training that is asked to stop saves itself, says where, and goes on as if it never had."""

import os
import signal

import pytest
from forked_training import fork_training
from interruptions import at_step, die, same_bits, saved_at_once, signal_itself, steps, weights

from sekd_plugin.cli import main

FREQUENT = ("regime.publish_metrics_every_n_steps=2", "regime.checkpoint_every_n_steps=2")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_ends_a_run_of_a_fixed_length_after_the_step_with_a_checkpoint(
    workshop, monkeypatch, number
):
    workshop.train("whole")
    with monkeypatch.context() as during:
        at_step(during, 5, signal_itself(number))
        said = workshop.train("stopped", expect=128 + number)

    checkpoint = workshop.folder / "stopped" / "checkpoints" / "step_5"
    by = "as it was asked to" if number == signal.SIGUSR1 else f"by {number.name}"
    assert said.splitlines()[-1] == (
        f"sekd train: stopped {by} after step 5; the same command resumes from {checkpoint}"
    )
    assert checkpoint.is_dir()
    assert not (workshop.folder / "stopped/metrics/valid.jsonl").exists(), "it validated first"

    workshop.train("stopped")
    assert same_bits(weights(workshop, "whole", 8), weights(workshop, "stopped", 8))
    assert steps(workshop, "stopped") == [4, 5, 8]


def test_a_signal_again_is_the_same_wish(workshop, monkeypatch):
    at_step(monkeypatch, 3, signal_itself(signal.SIGTERM, signal.SIGTERM, signal.SIGTERM))
    said = workshop.train("run", expect=128 + signal.SIGTERM)
    assert "stopped by SIGTERM after step 3" in said.splitlines()[-1]
    assert said.count("SIGTERM received") == 1


def test_a_wish_to_stop_in_the_last_step_changes_nothing(workshop, monkeypatch):
    at_step(monkeypatch, 8, signal_itself(signal.SIGTERM))
    workshop.train("run")
    assert steps(workshop, "run") == [4, 8]
    assert steps(workshop, "run", "valid") == [8]


def test_a_run_that_saves_models_alone_says_so(workshop, monkeypatch):
    at_step(monkeypatch, 3, signal_itself(signal.SIGTERM))
    said = workshop.train("run", "regime.save_model_only=true", expect=128 + signal.SIGTERM)
    assert "holds the model alone, as regime.save_model_only says" in said.splitlines()[-1]


def test_the_signals_mean_what_they_did_when_the_command_is_over(workshop):
    before = {name: signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM)}
    workshop.train("run")
    assert before == {name: signal.getsignal(name) for name in before}


def test_a_signal_before_the_first_step_ends_the_process_in_one_line(workshop):
    number = signal.SIGTERM
    process = fork_training(workshop, "run", "regime.num_steps=100000")
    log = workshop.folder / "run" / "config.yaml"
    while not log.exists() and process.poll() is None:
        os.sched_yield()
    process.send_signal(number)
    said, _ = process.communicate()
    assert process.returncode == -number
    last = said.splitlines()[-1]
    assert last == f"sekd train: ended by {number.name} before the first step; nothing is lost"


EPOCHS = (
    "regime.num_steps=null",
    "regime.num_data_epochs=2",
    "lr_scheduler.config.cycle_len=60",
)


def test_a_run_of_epochs_goes_on_within_the_last_one(workshop, monkeypatch):
    workshop.train("whole", *EPOCHS, *FREQUENT)
    last = steps(workshop, "whole")[-1]
    with monkeypatch.context() as during:
        at_step(during, last - 3, signal_itself(signal.SIGTERM))
        workshop.train("stopped", *EPOCHS, *FREQUENT, expect=128 + signal.SIGTERM)

    workshop.train("stopped", *EPOCHS, *FREQUENT)

    assert steps(workshop, "stopped")[-1] == last
    assert same_bits(weights(workshop, "whole", last), weights(workshop, "stopped", last))


def test_a_checkpoint_at_an_epochs_end_adds_no_epoch(workshop, monkeypatch):
    settings = (*EPOCHS, "regime.checkpoint_every_n_steps=null")
    settings += ("regime.checkpoint_every_n_data_epochs=1",)
    workshop.train("whole", *settings)
    last = sorted((workshop.folder / "whole/checkpoints").glob("step_*"), key=number_of)[-1].name
    epoch = number_of(
        sorted((workshop.folder / "whole/checkpoints").glob("step_*"), key=number_of)[0]
    )
    with monkeypatch.context() as during:
        saved_at_once(during)
        at_step(during, epoch + 3, die)
        workshop.train("killed", *settings, expect=1)

    assert "Resuming from step" in workshop.train("killed", *settings)

    found = sorted((workshop.folder / "killed/checkpoints").glob("step_*"), key=number_of)
    assert found[-1].name == last
    whole, killed = (weights(workshop, run, number_of(found[-1])) for run in ("whole", "killed"))
    assert same_bits(whole, killed)


def test_a_finished_run_of_epochs_started_again_does_nothing_more(workshop):
    workshop.train("run", *EPOCHS)
    before = steps(workshop, "run")
    workshop.train("run", *EPOCHS)
    assert steps(workshop, "run") == before


def number_of(checkpoint):
    return int(checkpoint.name.removeprefix("step_"))


@pytest.mark.parametrize("step", [4, 5])
def test_a_run_that_stops_by_itself_at_a_step_goes_on_to_the_same_bits(workshop, step):
    settings = ("regime.validate_every_n_steps=4", "regime.checkpoint_every_n_steps=4")
    settings += ("model.config_overrides.dropout_p=0.1",)
    arguments = workshop.arguments(settings)
    workshop.train("whole", *settings)
    folder = workshop.folder / "part"

    for _ in range(2):  # the second time there is nothing left to do
        assert main(["train", str(folder), *arguments, "--stop-after", str(step)]) == 0
        assert workshop.capture()[1].splitlines()[-1] == (
            f"sekd train: stopped as --stop-after says, after step {step}; the same command "
            f"without --stop-after resumes from {folder / 'checkpoints' / f'step_{step}'}"
        )
        assert steps(workshop, "part", "valid") == [4], "what was due at the step was not done"
    assert not workshop.checkpoint("part", 8).exists()

    workshop.train("part", *settings)
    assert same_bits(weights(workshop, "whole", 8), weights(workshop, "part", 8))
    for split in ("train", "valid"):
        assert steps(workshop, "part", split) == steps(workshop, "whole", split) == [4, 8]
