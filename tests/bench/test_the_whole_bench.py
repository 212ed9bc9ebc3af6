"""The bench itself, at a size that takes seconds and without anyone else's package."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from bench.__main__ import main
from bench.check import WrongGradientError, check_sample, check_whole
from bench.contenders import contenders_at
from bench.memory import ENVIRONMENT
from bench.problem import make_problem
from bench.settings import Point

FOLDER = Path(__file__).resolve().parent.parent.parent / ".ci"


@pytest.fixture(autouse=True)
def path_for_workers(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(FOLDER))


def small(job):
    return Point(job=job, tokens=40, vocabulary=300, hidden=16)


@pytest.mark.slow
def test_it_measures_and_keeps_what_it_measured(tmp_path, capsys):
    words = ["--no-peers", "--jobs", "logits", "--tokens", "48", "--vocabulary", "200"]
    words += ["--repeats", "3", "--rounds", "0", "--no-growth", "--only", "dense", "ours_fixed"]
    assert main(words, into=tmp_path) == 0
    results = json.loads((tmp_path / "results.json").read_text())
    (point,) = results["grid"]
    assert set(point["contenders"]) == {"dense", "ours_fixed"}
    for one in point["contenders"].values():
        assert one["status"] == "measured"
        assert len(one["seconds"]) == 3
    assert 0.2 < point["hard_share"] < 0.4
    assert results["hardware"]["torch"] == torch.__version__
    printed = capsys.readouterr().out
    assert "time of dense / ours ≥ 3.5" in printed
    assert (tmp_path / "points.svg").stat().st_size > 0


@pytest.mark.parametrize("job", ["logits", "linear"])
def test_gradients_are_those_of_the_objectives(job):
    problem = make_problem(small(job))
    for contender in contenders_at(small(job), None, peers=False):
        assert check_whole(contender, problem) < 1e-4
        contender.prepare(problem)()
        assert check_sample(contender, problem) < 1e-4
        for leaf in problem.leaves:
            leaf.grad = None


def test_a_wrong_gradient_is_noticed():
    problem = make_problem(small("logits"))
    (plain,) = (one for one in contenders_at(small("logits"), ["plain_s"], peers=False))
    with pytest.raises(WrongGradientError, match="off by"):
        check_whole(dataclasses.replace(plain, computes="method"), problem)


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(SystemExit, match="there is no 'nobody'; there are: bound_products"):
        main(["--only", "nobody"])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
def test_peak_memory_is_the_peak():
    """Two blocks of 64 MiB at once, then one of 32: what counts is 128."""
    code = (
        "import torch; from bench.memory import peak_extra_bytes, without_huge_pages\n"
        "without_huge_pages()\n"
        "def work():\n"
        "    a = torch.ones(2**24); b = a + a; del a, b; torch.ones(2**23)\n"
        "work(); print(peak_extra_bytes(work, []))\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **ENVIRONMENT},
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(run.stdout) / 2**20 == pytest.approx(128.0, abs=2.0)
