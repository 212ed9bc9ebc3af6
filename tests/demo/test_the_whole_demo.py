"""`sekd demo`, shortened: interrupted, taken up again, finished, and left alone after that."""

import os
import shutil
import signal
import subprocess
import sys
import time
from itertools import islice

import pytest
from forked_programs import fork_commands

import sekd_plugin.commands.evaluate
import sekd_plugin.commands.prepare
import sekd_plugin.commands.train  # noqa: F401  # all before the first fork
from sekd_plugin.cli import main
from sekd_plugin.recipes_folder import recipes_folder

STAGES = [
    "prepare", "teacher", "student", "cross_entropy", "word_kd", "self_evolution_kd", "evaluate",
]  # fmt: skip


SHORT = ("--steps", "8", "--sentences", "12")
FEW_PAIRS = {"train": 5000, "valid": 20, "test": 20}


@pytest.fixture
def recipes(tmp_path):
    """The shipped recipes, beside the first lines of the corpus."""
    shipped, folder = recipes_folder(), tmp_path / "recipes"
    shutil.copytree(shipped / "demo", folder / "demo")
    corpus = folder / "corpus" / "en-de"
    corpus.mkdir(parents=True)
    for split, count in FEW_PAIRS.items():
        with (shipped / "corpus/en-de" / f"{split}.jsonl").open(encoding="utf-8") as lines:
            (corpus / f"{split}.jsonl").write_text("".join(islice(lines, count)), encoding="utf-8")
    return folder / "demo"


def start(*words):
    return subprocess.Popen(
        [sys.executable, "-m", "sekd_plugin", *words],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


@pytest.mark.slow
def test_the_demo_is_interrupted_goes_on_and_ends_with_a_report(
    tmp_path, recipes, monkeypatch, capfd
):
    folder = tmp_path / "demo"
    words = ["demo", str(folder), *SHORT, "--recipes", str(recipes)]
    process = start(*words)
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

    fork_commands(monkeypatch)
    capfd.readouterr()
    code = main(words)
    out, error = capfd.readouterr()
    assert code == 0, error
    assert "finished before" in error.split("teacher")[0]  # prepare was not done again
    for name in ("teacher", "student", "cross_entropy", "word_kd", "self_evolution_kd"):
        assert any(line.startswith(name) for line in out.splitlines())
    page = (folder / "report.html").read_text()
    assert "a look at the report, not a result" in page
    assert all((folder / "stages" / f"{stage}.json").is_file() for stage in STAGES)

    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}
    begun = time.monotonic()
    assert main(words) == 0
    assert time.monotonic() - begun < 5
    assert before == {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}

    capfd.readouterr()
    assert main(["demo", str(folder), *SHORT]) == 2  # the shipped recipes, with the whole corpus
    assert "made with other settings: corpus" in capfd.readouterr().err


def test_a_folder_with_other_files_is_refused(tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("years of work")
    assert main(["demo", str(tmp_path)]) == 2
    assert "is not empty and holds no demo" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_steps_out_of_range_are_refused(tmp_path, capsys):
    assert main(["demo", str(tmp_path / "demo"), "--steps", "0"]) == 2
    assert "--steps" in capsys.readouterr().err
    assert not (tmp_path / "demo").exists()
