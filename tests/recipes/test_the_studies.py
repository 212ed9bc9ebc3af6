"""The script of the studies asks for what their tables need, in the order in which it is needed."""

import json
import os
import subprocess
import sys

import pytest
import yaml
from tiny_models_in_recipes import FOLDER, read

from sekd_plugin.toolkits.fairseq2.sweeping.sweep_file import read_sweep

STUDIES = FOLDER / "experiments" / "studies.yaml"
SEKD = 'import json, sys; print(json.dumps(sys.argv[1:]), file=open("said", "a"))'


@pytest.fixture
def asked(tmp_path):
    """Runs the script where the teachers are trained; every ``sekd`` command that it gives."""
    sekd = tmp_path / "sekd.py"
    sekd.write_text(SEKD, encoding="utf-8")
    rows = read_sweep(FOLDER / "experiments" / "teachers.yaml").rows
    for row in rows:
        for step in (500, 3000):
            folder = f"runs/experiments/teachers/runs/{row.name}/seed_1/checkpoints/step_{step}"
            (tmp_path / folder).mkdir(parents=True)

    def run(*tables, **variables):
        environment = {**os.environ, "SEKD": f"{sys.executable} {sekd}", **variables}
        script = FOLDER / "experiments" / "run.sh"
        subprocess.run([script, *tables], cwd=tmp_path, env=environment, check=True)
        return [json.loads(line) for line in (tmp_path / "said").read_text().splitlines()]

    return run


def caches_of(commands):
    """The name of every cache that is filled → the settings it is filled with."""
    return {
        command[1].rpartition("/")[2]: dict(word.split("=", 1) for word in command[7:])
        for command in commands
        if command[0] == "cache-teacher"
    }


def test_a_table_gets_its_teacher_and_no_other(asked):
    commands = asked("beta", "noise_0.3_noisy_teacher")
    assert [command[0] for command in commands] == [
        "prepare", "sweep", "sweep", "cache-teacher", "cache-teacher", "analyze", "sweep",
    ]  # fmt: skip
    assert commands[-1][3:] == ["--table", "beta", "noise_0.3_noisy_teacher"]
    assert "--only" not in commands[1], "a noisy teacher is needed"
    assert "--only" in asked("beta")[7 + 1]


def test_all_tables_get_every_cache_that_a_row_reads(asked):
    caches = caches_of(asked())
    needed = set()
    for row in read_sweep(STUDIES).rows:
        for trial in row.trials:
            cache = trial.settings["teacher_cache"]
            if cache is None:
                continue
            name = cache["path"].rpartition("/")[2]
            needed.add(name)
            (train,) = yaml.safe_load(caches[name]["dataset.train"])
            assert [train] == trial.settings["dataset.train"]
            noisy, step = name.endswith("noisy_teacher"), "seed_1/checkpoints/step_3000/model"
            teacher = f"misaligned,train={name.split('_')[1]}" if noisy else "clean"
            assert caches[name]["teacher.path"].endswith(f"/runs/{teacher}/{step}")
    assert needed == set(caches)
    validated = read("experiments/cache.yaml")["dataset"]["valid"]
    assert validated == read("experiments/studies.yaml")["settings"]["dataset.valid"]


def test_larger_models_are_laid_over_every_sweep(asked):
    folder = FOLDER / "experiments" / "on_a_gpu"
    commands = asked("beta", OVER=str(folder))
    sweeps = [command for command in commands if command[0] == "sweep"]
    assert [command[command.index("--over") + 1] for command in sweeps] == [
        str(folder / f"{name}.yaml") for name in ("teachers", "students", "studies")
    ]
    (cache,) = (command for command in commands if command[0] == "cache-teacher")
    assert cache[3] == str(folder / "cache.yaml")
