"""The metrics files of a run that was killed hold each step once."""

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from interruptions import at_step, die, steps

from sekd_plugin.toolkits.fairseq2.lost_records import drop_lost_records

OFTEN = (
    "regime.num_steps=12",
    "regime.publish_metrics_every_n_steps=1",
    "regime.validate_every_n_steps=2",
    "regime.checkpoint_every_n_steps=4",
    "translation.bleu=true",
    "translation.max_sentences=4",
    "translation.max_target_tokens=8",
)


@pytest.mark.parametrize("step", [3, 8, 12])
def test_a_killed_run_reports_no_step_twice(workshop, monkeypatch, step):
    with monkeypatch.context() as during:
        at_step(during, step, die)
        workshop.train("run", *OFTEN, expect=1)
    assert steps(workshop, "run") == list(range(1, step))

    workshop.train("run", *OFTEN)

    assert steps(workshop, "run") == list(range(1, 13))
    for split in ("valid", "valid/bleu"):
        assert steps(workshop, "run", split) == [2, 4, 6, 8, 10, 12]


def test_a_run_that_cannot_be_resumed_keeps_every_record(workshop, monkeypatch):
    data = workshop.folder / "pairs.jsonl"
    data.write_text('{"src": "the file", "tgt": "das dokument"}\n' * 40)
    settings = (*OFTEN, f"dataset.train=[{{path: {data}}}]")
    with monkeypatch.context() as during:
        at_step(during, 7, die)
        workshop.train("run", *settings, expect=1)
    before = workshop.metrics("run")
    data.write_text(data.read_text().replace("file", "menu", 1))

    assert "has changed" in workshop.train("run", *settings, expect=2)

    assert workshop.metrics("run") == before


def line(step):
    return json.dumps({"Time": "now", "Step": step, "Loss": 1.5}).encode() + b"\n"


@given(
    st.lists(st.integers(0, 9) | st.sampled_from([b"\n", b"[3]\n", b'{"Loss": 1}\n', b'{"St\n'])),
    st.none() | st.integers(0, 9),
    st.sampled_from([b"", b'{"Step": 1', b'{"Step": 1}']),
)
def test_exactly_the_records_up_to_a_step_stay(tmp_path_factory, content, last, tail):
    file = tmp_path_factory.mktemp("metrics") / "train.jsonl"
    rows = [line(row) if isinstance(row, int) else row for row in content]
    file.write_bytes(b"".join(rows) + tail)
    kept = [line(row) for row in content if isinstance(row, int) and last is not None]
    kept = [row for row in kept if json.loads(row)["Step"] <= last]

    dropped = drop_lost_records(file, last)

    assert file.read_bytes() == b"".join(kept)
    assert dropped == len(rows) - len(kept) + bool(tail)
    assert os.listdir(file.parent) == ["train.jsonl"]


def test_a_file_with_nothing_lost_is_not_touched(tmp_path):
    file = tmp_path / "train.jsonl"
    file.write_bytes(line(1) + line(2))
    before = file.stat().st_ino
    assert drop_lost_records(file, 2) == 0
    assert file.stat().st_ino == before
