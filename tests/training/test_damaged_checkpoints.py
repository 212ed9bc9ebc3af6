"""A checkpoint that is not what was written is refused by name, and the one before it offered."""

import shutil
import subprocess
from pathlib import Path

import pytest
from interruptions import same_bits, weights

KD = "criterion.name=self_evolution_kd"
SAVED = (
    "regime.num_steps=12",
    "regime.publish_metrics_every_n_steps=2",
    "regime.validate_every_n_steps=12",
    "regime.checkpoint_every_n_steps=2",
)
FILES = [
    "model/pp_00/tp_00/sdp_00.pt",
    "optimizer/pp_00/tp_00/sdp_00.pt",
    "trainer/rank_00.pt",
    "data_reader/dp_00.pt",
]


def flip_a_bit(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def truncate(file):
    with file.open("r+b") as stream:
        stream.truncate(file.stat().st_size - 1)


@pytest.fixture
def interrupted(workshop):
    """A run with the checkpoints 2, 4, 6, 8 and 10, and what it has at step 12 as ``whole``."""
    workshop.train("whole", *SAVED)
    run = workshop.folder / "run"
    shutil.copytree(workshop.folder / "whole", run)
    shutil.rmtree(run / "checkpoints/step_12")
    return run


@pytest.mark.parametrize(
    ("name", "harm"),
    list(zip(FILES, [flip_a_bit, truncate, Path.unlink, flip_a_bit], strict=True)),
    ids=["model", "optimizer", "trainer", "data_reader"],
)
def test_a_harmed_file_is_named_and_the_checkpoint_before_it_resumes(
    workshop, interrupted, name, harm
):
    file = interrupted / "checkpoints/step_10" / name
    harm(file)
    before = {path: path.read_bytes() for path in interrupted.rglob("*.pt")}

    said = workshop.train("run", *SAVED, expect=2).splitlines()[-1]

    assert said.startswith(f"sekd train: {file} ")
    assert before == {path: path.read_bytes() for path in interrupted.rglob("*.pt")}
    _, advice = said.split("mv ")
    assert "step_8 before it is sound" in said
    subprocess.run(["mv", *advice.split()], check=True)
    assert "Resuming from step 8" in workshop.train("run", *SAVED)
    assert same_bits(weights(workshop, "whole", 12), weights(workshop, "run", 12))


def test_only_a_sound_checkpoint_is_offered(workshop, interrupted):
    for step in (10, 8, 6):
        flip_a_bit(interrupted / f"checkpoints/step_{step}" / FILES[1])
    said = workshop.train("run", *SAVED, expect=2).splitlines()[-1]
    assert "step_4 before it is sound" in said

    for step in (4, 2):
        truncate(interrupted / f"checkpoints/step_{step}" / FILES[0])
    said = workshop.train("run", *SAVED, expect=2).splitlines()[-1]
    assert "no sound checkpoint before it; name another folder" in said


def test_a_checkpoint_without_checksums_is_taken_if_it_can_be_read(workshop, interrupted):
    for record in interrupted.rglob("*.sha256"):
        record.unlink()
    workshop.train("run", *SAVED)
    assert same_bits(weights(workshop, "whole", 12), weights(workshop, "run", 12))

    for record in (interrupted / "checkpoints/step_12").rglob("*.sha256"):
        record.unlink()
    file = interrupted / "checkpoints/step_12" / FILES[0]
    truncate(file)
    said = workshop.train("run", *SAVED, expect=2).splitlines()[-1]
    assert said.startswith(f"sekd train: {file} cannot be read; step_10 before it is sound")


def test_the_checksums_are_those_that_sha256sum_knows(workshop):
    workshop.train("run")
    records = list((workshop.folder / "run/checkpoints/step_8").rglob("*.sha256"))
    assert len(records) == len(FILES)
    for record in records:
        subprocess.run(["sha256sum", "--check", record.name], cwd=record.parent, check=True)


def test_a_harmed_teacher_is_refused_by_its_file(taught, tmp_path):
    teacher = taught.checkpoint("teacher", 8)
    copy = tmp_path / "copy"
    shutil.copytree(teacher, copy)
    file = copy / "pp_00/tp_00/sdp_00.pt"
    flip_a_bit(file)
    section = taught.teacher("teacher", 8).replace(str(teacher), str(copy))

    said = taught.train("run", KD, section, expect=2).splitlines()[-1]

    assert said.startswith(f"sekd train: {file} is not what was written")
    assert not (taught.folder / "run").exists()
