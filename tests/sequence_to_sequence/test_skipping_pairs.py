"""With faults.non_finite: skip, an encoder–decoder learns without what its teacher breaks on."""

import json

import pytest
from poisoned_teacher import LINE, with_one_marked_sentence
from same_training import expect_the_same
from tiny_encoder_decoder import teacher_of

from sekd_plugin.toolkits.fairseq2.sequence_to_sequence.kind import EncoderDecoder
from sekd_plugin.toolkits.fairseq2.sequence_to_sequence.teacher import run_teacher

SETTINGS = (
    "criterion.name=self_evolution_kd",
    "dataset.batch_tokens=100000",  # all of the corpus in every step
    "optimizer.config.eps=1.0e-5",  # a bias of keys has no gradient but rounding
    "regime.num_steps=3",
    "regime.publish_metrics_every_n_steps=1",
    "regime.validate_every_n_steps=3",
    "regime.checkpoint_every_n_steps=3",
)


@pytest.fixture
def poisoned(pair_workshop, pair_teacher, monkeypatch):
    """A workshop, the settings of a run whose teacher gives NaN on one sentence, and its file."""
    piece, file = with_one_marked_sentence(pair_workshop)
    marked = piece + 1  # fairseq2 puts a padding piece before all others

    def broken(self, model, source_seqs, *inputs):
        output = run_teacher(model, source_seqs, *inputs)
        output.states[(source_seqs == marked).any(dim=-1)] = float("nan")
        return output

    monkeypatch.setattr(EncoderDecoder, "run_teacher", broken)
    return pair_workshop, (teacher_of(pair_teacher), f"dataset.train=[{{path: {file}}}]"), file


def test_it_is_the_run_on_a_corpus_without_the_sentence(poisoned):
    workshop, settings, file = poisoned
    said = workshop.train("skipping", *SETTINGS, *settings, "faults.non_finite=skip")
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    del lines[LINE - 1]
    file.write_text("".join(lines), encoding="utf-8")
    workshop.train("without", *SETTINGS, *settings)

    expect_the_same(workshop, "skipping", "without", 3)
    counts = [line["Total Number of Skipped Sentences"] for line in workshop.metrics("skipping")]
    assert counts == [1, 2, 3]
    reason = "the teacher's output is not finite"
    listed = (workshop.folder / "skipping/skipped/rank_0.jsonl").read_text(encoding="utf-8")
    assert [json.loads(line) for line in listed.splitlines()] == [
        {"step": step, "file": str(file), "line": LINE, "reason": reason} for step in (1, 2, 3)
    ]
    assert f"step 3: {reason} on {file}, line {LINE}; it is left out" in said


def test_without_skipping_the_run_stops_and_names_the_sentence(poisoned):
    workshop, settings, file = poisoned
    stopped = workshop.train("run", *SETTINGS, *settings, expect=3).splitlines()[-1]
    assert "the teacher's logits are not finite on " in stopped
    assert stopped.endswith(f"in {file}, line {LINE}")
