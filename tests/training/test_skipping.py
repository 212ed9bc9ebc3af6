"""With faults.non_finite: skip, a run goes on without the sentences that its teacher breaks on."""

import json

import pytest
import torch
from interruptions import at_step, die, saved_at_once, steps, weights
from poisoned_teacher import LINE, poisoned_teacher, with_one_marked_sentence

KD = "criterion.name=self_evolution_kd"
SKIP = "faults.non_finite=skip"
WHOLE = "dataset.batch_tokens=100000"
"""Makes a step of all of the corpus, so that the sentence is in every step."""
LENGTH = (
    "regime.num_steps=6",
    "regime.publish_metrics_every_n_steps=1",
    "regime.validate_every_n_steps=6",
    "regime.checkpoint_every_n_steps=2",
)


@pytest.fixture
def poisoned(taught):
    """A workshop, the settings of a run whose teacher breaks on one sentence, and its file."""
    piece, file = with_one_marked_sentence(taught)
    settings = (poisoned_teacher(taught, piece), KD, f"dataset.train=[{{path: {file}}}]", *LENGTH)
    return taught, settings, file


def listed(workshop, run):
    text = (workshop.folder / run / "skipped/rank_0.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def counted(workshop, run):
    return [line["Total Number of Skipped Sentences"] for line in workshop.metrics(run)]


def test_it_is_the_run_on_a_corpus_without_the_sentence(poisoned):
    workshop, settings, file = poisoned
    said = workshop.train("skipping", *settings, WHOLE, SKIP)
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    del lines[LINE - 1]
    file.write_text("".join(lines), encoding="utf-8")
    workshop.train("without", *settings, WHOLE)

    expect_the_same(workshop, "skipping", "without")
    assert counted(workshop, "skipping") == [1, 2, 3, 4, 5, 6]
    reason = "the teacher's output is not finite"
    record = {"file": str(file), "line": LINE, "reason": reason}
    assert listed(workshop, "skipping") == [{"step": step} | record for step in range(1, 7)]
    assert f"step 6: {reason} on {file}, line {LINE}; it is left out" in said
    assert not (workshop.folder / "without/skipped").exists()
    assert "Total Number of Overflows" not in workshop.metrics("skipping")[-1]


def expect_the_same(workshop, run, other):
    for split in ("train", "valid"):
        for ours, theirs in zip(
            workshop.metrics(run, split), workshop.metrics(other, split), strict=True
        ):
            for name in ("Loss", "Gamma", "Hard Ratio", "Gradient Norm", "Difficulty p90"):
                if name in theirs:
                    assert ours[name] == pytest.approx(theirs[name], rel=2e-5), name
            name = "Number of Target Elements"
            assert ours[name] == theirs[name]
    ours, theirs = weights(workshop, run, 6), weights(workshop, other, 6)
    for name, weight in theirs.items():
        torch.testing.assert_close(ours[name], weight, rtol=1e-3, atol=2e-5, msg=name)


def test_a_killed_run_lists_and_counts_each_sentence_once(poisoned, monkeypatch):
    workshop, settings, _ = poisoned
    with monkeypatch.context() as during:
        saved_at_once(during)
        at_step(during, 6, die)
        workshop.train("killed", *settings, WHOLE, SKIP, expect=1)
    assert [record["step"] for record in listed(workshop, "killed")] == [1, 2, 3, 4, 5]

    workshop.train("killed", *settings, WHOLE, SKIP)

    assert [record["step"] for record in listed(workshop, "killed")] == [1, 2, 3, 4, 5, 6]
    assert steps(workshop, "killed") == counted(workshop, "killed") == [1, 2, 3, 4, 5, 6]


def test_a_stopped_run_goes_on_with_skip_and_no_further_than_its_limit(poisoned):
    workshop, settings, file = poisoned
    stopped = workshop.train("run", *settings, expect=3).splitlines()[-1]
    assert stopped.endswith(f"in {file}, line {LINE}")
    assert "the teacher's logits are not finite on " in stopped

    last = workshop.train("run", *settings, SKIP, "faults.max_skipped=0", expect=3).splitlines()[-1]
    folder = workshop.folder / "run/skipped"
    step = listed(workshop, "run")[0]["step"]
    assert last == (
        f"sekd train: step {step}: faults.max_skipped is 0, and 1 sentences have been left out by "
        f"now; they are listed in {folder}"
    )

    workshop.train("run", *settings, SKIP, "faults.max_skipped=1")
    assert [record["line"] for record in listed(workshop, "run")] == [LINE]
    assert steps(workshop, "run") == [1, 2, 3, 4, 5, 6]


def test_validation_leaves_the_sentence_out_as_well(poisoned):
    workshop, settings, file = poisoned
    settings += (f"dataset.valid=[{{path: {file}}}]", "regime.num_steps=2", SKIP)
    settings += ("regime.validate_every_n_steps=2", "faults.max_skipped=1")
    said = workshop.train("run", *settings)
    (report,) = workshop.metrics("run", "valid")
    assert report["Number of Skipped Sentences"] == 1
    assert report["Number of Examples"] == 120
    assert f"in validation: the teacher's output is not finite on {file}, line {LINE}" in said


def test_a_corpus_with_no_sound_sentence_teaches_nothing(poisoned):
    workshop, settings, file = poisoned
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    file.write_text(lines[LINE - 1] * 3, encoding="utf-8")
    workshop.train("run", *settings, SKIP, "regime.num_steps=2")
    for line in workshop.metrics("run"):
        assert "Loss" not in line
        assert line["Number of Target Elements"] == line["Gradient Norm"] == 0
    assert [record["step"] for record in listed(workshop, "run")] == [1, 1, 1, 2, 2, 2]
