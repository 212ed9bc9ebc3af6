"""Things that befall a training in the middle of it, at a step that is known."""

from __future__ import annotations

import os

import torch
from fairseq2.checkpoint import StandardCheckpointManager


def at_step(monkeypatch, number, happens):
    """Have ``happens()`` befall the training when step ``number`` begins."""
    import fairseq2.recipe  # noqa: F401  # else units is the first to import it, in a circle

    from sekd_plugin.toolkits.fairseq2.units import DistillationTrainUnit

    original = DistillationTrainUnit.set_step_nr

    def set_step_nr(unit, step_nr):
        if step_nr == number:
            happens()
        original(unit, step_nr)

    monkeypatch.setattr(DistillationTrainUnit, "set_step_nr", set_step_nr)


def signal_itself(*numbers):
    """What sends these signals to this process."""

    def send():
        for number in numbers:
            os.kill(os.getpid(), number)

    return send


def die():
    """End the training as abruptly as a process can that goes on with the next test."""
    raise ZeroDivisionError("the machine died")


def saved_at_once(monkeypatch):
    """Have a checkpoint stand in its place before the next step begins.

    A thread writes it, but it is the next step that puts it there if the thread is done by then.
    """
    complete = StandardCheckpointManager.maybe_complete_save_operation
    monkeypatch.setattr(
        StandardCheckpointManager,
        "maybe_complete_save_operation",
        lambda manager, blocking=False: complete(manager, blocking=True),
    )


def weights(workshop, run, step):
    file = workshop.checkpoint(run, step) / "pp_00/tp_00/sdp_00.pt"
    return torch.load(file, weights_only=True)


def same_bits(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def steps(workshop, run, split="train"):
    return [record["Step"] for record in workshop.metrics(run, split)]


def finish(process, timeout=180):
    """Wait for the end of a process that must succeed; return what it printed."""
    said, _ = process.communicate(timeout=timeout)
    assert process.returncode == 0, said
    return said
