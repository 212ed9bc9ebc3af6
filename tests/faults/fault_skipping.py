"""A teacher gives NaN on one sentence, and the run goes on without it: faults.non_finite: skip."""

import json
import signal
import time

import pytest
import torch
from interruptions import finish, same_bits, steps, weights
from poisoned_teacher import LINE, poisoned_teacher, with_one_marked_sentence

STEPS = 60
SAVING = (
    "criterion.name=self_evolution_kd",
    "faults.non_finite=skip",
    f"regime.num_steps={STEPS}",
    "regime.publish_metrics_every_n_steps=1",
    "regime.validate_every_n_steps=null",
    "regime.checkpoint_every_n_steps=5",
    "dataset.valid=[]",
    "gang.timeout=1",
)
WHOLE = "dataset.batch_tokens=100000"
COMPARED = ("Loss", "Gamma", "Hard Ratio", "Difficulty p90", "Number of Target Elements")


@pytest.fixture
def poisoned(taught):
    piece, file = with_one_marked_sentence(taught)
    return taught, (poisoned_teacher(taught, piece), *SAVING, of(file)), file


def of(file):
    return f"dataset.train=[{{path: {file}}}]"


def listed(workshop, run):
    files = sorted((workshop.folder / run / "skipped").glob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def counted(workshop, run):
    return [line["Total Number of Skipped Sentences"] for line in workshop.metrics(run)]


def only(file, lines, name):
    """A corpus of some lines of a file."""
    there = file.read_text(encoding="utf-8").splitlines(keepends=True)
    chosen = file.with_name(name)
    chosen.write_text("".join(there[line - 1] for line in lines), encoding="utf-8")
    return chosen


def largest_difference(workshop, run, other):
    """Of the final weights; the metrics must agree to rounding."""
    for ours, theirs in zip(workshop.metrics(run), workshop.metrics(other), strict=True):
        for name in COMPARED:
            if name in theirs:
                assert ours[name] == pytest.approx(theirs[name], rel=5e-4), name
    ours, theirs = weights(workshop, run, STEPS), weights(workshop, other, STEPS)
    return max(float((ours[name] - theirs[name]).abs().max()) for name in theirs)


def fault_one_sentence_is_left_out_of_every_epoch(poisoned, figure):
    workshop, settings, file = poisoned
    workshop.train("run", *settings)
    assert steps(workshop, "run") == list(range(1, STEPS + 1))
    records = listed(workshop, "run")
    assert {(record["file"], record["line"]) for record in records} == {(str(file), LINE)}
    epochs = workshop.metrics("run")[-1]["Data Epoch"]
    assert epochs - 1 <= len(records) <= epochs
    assert counted(workshop, "run")[-1] == len(records)
    figure(
        f"{STEPS} of {STEPS} steps done; line {LINE} of 120 left out at steps "
        f"{[record['step'] for record in records]} of {epochs} epochs, listed and counted"
    )


def fault_a_killed_run_lists_each_skipped_sentence_once(poisoned, figure):
    workshop, settings, _ = poisoned
    workshop.train("whole", *settings, WHOLE)
    process = workshop.start("killed", *settings, WHOLE)
    while not (workshop.folder / "killed/checkpoints/step_10").is_dir() and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    before = listed(workshop, "killed")
    workshop.train("killed", *settings, WHOLE)
    assert len(before) < STEPS, "it was over before it could be killed"
    assert listed(workshop, "killed") == listed(workshop, "whole")
    assert [record["step"] for record in listed(workshop, "killed")] == steps(workshop, "killed")
    assert counted(workshop, "killed") == list(range(1, STEPS + 1))
    assert same_bits(weights(workshop, "killed", STEPS), weights(workshop, "whole", STEPS))
    figure(
        f"killed with {len(before)} sentences listed; in the end {STEPS} of {STEPS}, each once; "
        "same bits"
    )


@pytest.mark.parametrize("threshold", ["dynamic", "top_k of all ranks"])
def fault_one_of_two_ranks_has_the_sentence(poisoned, figure, threshold):
    workshop, settings, file = poisoned
    chosen = {"name": "top_k", "config": {"k": 40, "scope": "global"}}
    if threshold == "dynamic":
        chosen = {"name": "dynamic"}
    settings += (WHOLE, f"criterion.config.threshold={json.dumps(chosen)}")
    begun = time.monotonic()
    finish(workshop.start("two", *settings, processes=2))
    took = time.monotonic() - begun
    others = only(file, [line for line in range(1, 121) if line != LINE], "others.jsonl")
    workshop.train("one", *settings, of(others))

    assert len(listed(workshop, "two")) == STEPS
    assert counted(workshop, "two") == list(range(1, STEPS + 1))
    difference = largest_difference(workshop, "two", "one")
    assert difference < 2e-3
    figure(
        f"{STEPS} steps in {took:.1f} s, the sentence left out of each; final weights within "
        f"{difference:.1e} of one process on a corpus without it"
    )


@pytest.mark.parametrize("sharding", ["ddp", "fsdp"])
def fault_a_rank_is_left_without_a_sentence(poisoned, figure, sharding):
    workshop, settings, file = poisoned
    settings += (of(only(file, [LINE, 5], "pair.jsonl")),)
    finish(workshop.start("two", *settings, f"trainer.data_parallelism={sharding}", processes=2))
    alone = only(file, [5], "alone.jsonl")
    workshop.train("one", *settings, of(alone))
    assert len(listed(workshop, "two")) == STEPS
    parts = sorted(workshop.checkpoint("two", STEPS).rglob("sdp_*.pt"))
    states = [torch.load(part, weights_only=True) for part in parts]
    for ours, theirs in zip(workshop.metrics("two"), workshop.metrics("one"), strict=True):
        for name in COMPARED:
            if name in theirs:
                assert ours[name] == pytest.approx(theirs[name], rel=5e-4), name
    assert all(bool(torch.isfinite(value).all()) for state in states for value in state.values())
    figure(f"{STEPS} steps, in each a rank without a target token; as one process on the other one")


def fault_no_rank_has_a_sound_sentence(poisoned, figure):
    workshop, settings, file = poisoned
    settings += (of(only(file, [LINE, LINE], "both.jsonl")), "faults.max_skipped=1000")
    finish(workshop.start("two", *settings, processes=2))
    assert len(listed(workshop, "two")) == 2 * STEPS
    assert all(line["Gradient Norm"] == 0.0 for line in workshop.metrics("two"))
    figure(f"{STEPS} steps without a target token end; nothing is learnt")


def fault_two_ranks_stop_together_at_the_limit(poisoned, figure):
    workshop, settings, file = poisoned
    settings += (of(only(file, [LINE, 5, LINE, 9], "half.jsonl")), "faults.max_skipped=7")
    begun = time.monotonic()
    process = workshop.start("two", *settings, processes=2)
    said, _ = process.communicate(timeout=120)
    took = time.monotonic() - begun
    assert process.returncode == 1  # torchrun's own; the ranks' are in its report
    assert "exitcode  : 3 " in said
    assert "Traceback" not in said.partition("torch/distributed/elastic")[0], said
    (line,) = {each for each in said.splitlines() if "faults.max_skipped is" in each}
    assert line.endswith(
        f": faults.max_skipped is 7, and 8 sentences have been left out by now; they are listed in "
        f"{workshop.folder / 'two' / 'skipped'}"
    )
    assert len(listed(workshop, "two")) == 8
    assert counted(workshop, "two")[-1] <= 7
    figure(f"over {took:.1f} s after the start: {line[:70]}…")


def fault_a_student_that_diverges_is_not_skipped(taught, figure):
    settings = (taught.teacher("teacher", 8), *SAVING, "optimizer.config.lr=1e20")
    said = taught.train("run", *settings, "lr_scheduler.config.cycle_len=1000", expect=3)
    last = said.strip().splitlines()[-1]
    assert "(the model is broken: that cannot be skipped)" in last
    assert "line " in last
    assert not (taught.folder / "run/skipped").exists()
    figure(f"{last.removeprefix('sekd train: ')[:60]}…")


def fault_two_tensor_parallel_ranks_leave_it_out_alike(poisoned, figure):
    workshop, settings, _ = poisoned
    finish(workshop.start("two", *settings, WHOLE, "gang.tensor_parallel_size=2", processes=2))
    workshop.train("one", *settings, WHOLE)
    assert listed(workshop, "two") == listed(workshop, "one")
    assert counted(workshop, "two") == counted(workshop, "one") == list(range(1, STEPS + 1))
    for ours, theirs in zip(workshop.metrics("two"), workshop.metrics("one"), strict=True):
        for name in COMPARED:
            if name in theirs:
                assert ours[name] == pytest.approx(theirs[name], rel=5e-4), name
    figure(f"{STEPS} steps; the sentence listed once for both, as one process does")
