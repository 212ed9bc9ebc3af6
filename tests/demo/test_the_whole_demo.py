"""`sekd demo`, shortened: interrupted, taken up again, finished, and left alone after that."""

import os
import signal
import subprocess
import sys
import time

import pytest

from sekd_plugin.cli import main

STAGES = [
    "prepare", "teacher", "student", "cross_entropy", "word_kd", "self_evolution_kd", "evaluate",
]  # fmt: skip


def start(folder):
    return subprocess.Popen(
        [sys.executable, "-m", "sekd_plugin", "demo", str(folder), "--steps", "8",
         "--sentences", "12"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


@pytest.mark.slow
def test_the_demo_is_interrupted_goes_on_and_ends_with_a_report(tmp_path):
    folder = tmp_path / "demo"
    process = start(folder)
    for _ in range(1200):
        if (folder / "logs" / "teacher.log").exists() or process.poll() is not None:
            break
        time.sleep(0.05)
    time.sleep(1.0)
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 143, error
    assert "the same command goes on from here" in error
    assert not (folder / "report.html").exists()

    process = start(folder)
    out, error = process.communicate(timeout=280)
    assert process.returncode == 0, error
    assert "finished before" in error.split("teacher")[0]  # prepare was not done again
    for name in ("teacher", "student", "cross_entropy", "word_kd", "self_evolution_kd"):
        assert any(line.startswith(name) for line in out.splitlines())
    page = (folder / "report.html").read_text()
    assert "a look at the report, not a result" in page
    assert all((folder / "stages" / f"{stage}.json").is_file() for stage in STAGES)

    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}
    begun = time.monotonic()
    assert main(["demo", str(folder), "--steps", "8", "--sentences", "12"]) == 0
    assert time.monotonic() - begun < 5
    assert before == {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}


def test_a_folder_with_other_files_is_refused(tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("years of work")
    assert main(["demo", str(tmp_path)]) == 2
    assert "is not empty and holds no demo" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_steps_out_of_range_are_refused(tmp_path, capsys):
    assert main(["demo", str(tmp_path / "demo"), "--steps", "0"]) == 2
    assert "--steps" in capsys.readouterr().err
    assert not (tmp_path / "demo").exists()
