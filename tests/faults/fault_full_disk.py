"""A disk that is full: one line says so, what was good stays, and it goes on when there is room.

The disk is a tmpfs of two megabytes.
"""

import json
import math
import time
from dataclasses import replace

import pytest
from full_disk import FULL, fill
from interruptions import same_bits, steps, weights

from sekd_plugin.cli import main
from sekd_plugin.errors import SekdError
from sekd_plugin.new_file import write_new_file
from sekd_plugin.toolkits.fairseq2.durability.checkpoint_checksums import damage

STEPS = 60
SETTINGS = (
    f"regime.num_steps={STEPS}",
    "regime.publish_metrics_every_n_steps=1",
    "regime.validate_every_n_steps=null",
    "common.metric_recorders.tensorboard.enabled=false",
)
SAVING = (*SETTINGS, "regime.checkpoint_every_n_steps=4")


def on(workshop, disk):
    """The same workshop with its runs on a disk; its recipe stays where it is."""
    return replace(workshop, folder=disk.folder)


def the_one_line(said):
    """The last line, after checking that it is the only one about an error."""
    assert "Traceback" not in said, said
    lines = said.strip().splitlines()
    about = [line for line in lines if FULL in line or "rror" in line]
    assert about == lines[-1:], said
    return lines[-1]


def states(run):
    """What can be resumed from, and whether it is whole."""
    found = {}
    for step in (run / "checkpoints").glob("step_*"):
        if step.name[5:].isdecimal():
            files = list(step.rglob("*.pt"))
            found[int(step.name[5:])] = len(files) == 4 and not any(map(damage, files))
    return found


def fault_no_room_for_a_checkpoint(workshop, small_disk, figure):
    workshop.train("whole", *SAVING)
    there = on(workshop, small_disk)
    run = small_disk.folder / "run"

    last = the_one_line(there.train("run", *SAVING, expect=1))

    good = states(run)
    newest = max(good)
    assert good and all(good.values()) and newest < STEPS
    assert last.startswith("sekd train: step ") and FULL in last
    assert f"{run}/checkpoints/step_{newest} stands" in last
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    again = there.train("run", *SAVING, expect=2)
    assert again.startswith(f"sekd train: {run} cannot be written: {FULL}")
    assert len(again.splitlines()) == 1
    assert before == {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}

    small_disk.resize("64m")
    assert f"Resuming from step {newest}" in there.train("run", *SAVING)
    assert same_bits(weights(workshop, "whole", STEPS), weights(there, "run", STEPS))
    assert steps(there, "run") == list(range(1, STEPS + 1))
    figure(f"full after step {newest}; {len(good)} of {len(good)} checkpoints whole; same bits")


def fault_no_room_for_metrics(workshop, small_disk, figure):
    settings = (*SETTINGS, "regime.num_steps=2000", "regime.checkpoint_every_n_steps=1000000")
    there = on(workshop, small_disk)
    run = small_disk.folder / "run"
    process = there.start("run", *settings)
    file = run / "metrics" / "train.jsonl"
    while not file.exists() and process.poll() is None:
        time.sleep(0.002)
    fill(small_disk.folder / "filler")
    said, _ = process.communicate(timeout=120)

    assert process.returncode == 1
    last = the_one_line(said)
    assert f"{FULL}; no checkpoint was made yet" in last
    reached = file.read_bytes().count(b"\n")

    (small_disk.folder / "filler").unlink()
    small_disk.resize("64m")
    there.train("run", *settings)
    assert steps(there, "run") == list(range(1, 2001))
    figure(f"full after {reached} records; no torn and no repeated record after resuming")


def fault_no_room_at_the_start(workshop, small_disk):
    there = on(workshop, small_disk)
    fill(small_disk.folder / "filler")
    said = there.train("run", *SAVING, expect=2)
    assert said == (
        f"sekd train: {small_disk.folder}/run cannot be written: {FULL}; "
        "nothing in it was changed\n"
    )
    assert not (small_disk.folder / "run").exists()


@pytest.mark.parametrize("share", [0.1, 0.5, 0.8, 0.95])
def fault_no_room_for_a_prepared_corpus(workshop, small_disk, capfd, share, figure):
    pairs = workshop.folder / "pairs.jsonl"
    with pairs.open("w") as out:
        for n in range(1500):
            row = {"src": f"the number {n} of the house", "tgt": f"die nummer {n} des hauses"}
            out.write(json.dumps(row) + "\n")
    settings = ["--train", str(pairs), "--vocabulary-size", "320"]
    settings += ["--valid-size", "50", "--test-size", "50"]
    elsewhere = workshop.folder / "elsewhere"
    assert main(["prepare", str(elsewhere), *settings]) == 0
    needed = sum(4096 * math.ceil(path.stat().st_size / 4096) for path in elsewhere.iterdir())
    out = small_disk.folder / "out"
    fill(small_disk.folder / "filler", leave=int(share * needed))
    capfd.readouterr()

    code = main(["prepare", str(out), *settings])

    said = capfd.readouterr().err
    assert code == 2 and "Traceback" not in said
    last = said.strip().splitlines()[-1]
    assert last.startswith(f"sekd prepare: {out}: cannot be written: {FULL}"), said
    assert [path.name for path in small_disk.folder.iterdir()] == ["filler"]
    (small_disk.folder / "filler").unlink()
    assert main(["prepare", str(out), *settings]) == 0
    assert contents(out) == contents(elsewhere)
    figure(
        f"with {share:.0%} of the {needed // 1024} KiB it takes: one line, nothing left behind; "
        "made when there was room"
    )


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def fault_no_room_for_a_report(small_disk, figure):
    report = small_disk.folder / "report.html"
    fill(small_disk.folder / "filler", leave=8192)
    with pytest.raises(SekdError, match=f"report.html cannot be written: {FULL}"):
        write_new_file(report, "x" * 100_000)
    assert [path.name for path in small_disk.folder.iterdir()] == ["filler"]
    (small_disk.folder / "filler").unlink()
    write_new_file(report, "x" * 100_000)
    assert report.stat().st_size == 100_000
    figure("a report of 100 kB: not there at all, or whole")
