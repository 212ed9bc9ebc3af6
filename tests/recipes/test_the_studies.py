"""The script of the studies asks for what their tables need, in the order in which it is needed."""

import json
import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest
import yaml
from tiny_models_in_recipes import FOLDER, read

from sekd_plugin.toolkits.fairseq2.sweeping.sweep_file import read_sweep

STUDIES = FOLDER / "experiments" / "studies.yaml"
STUDENTS = FOLDER / "experiments" / "students.yaml"
SEKD = 'import json, sys; print(json.dumps(sys.argv[1:]), file=open({!r}, "a"))'
PAIRS = {
    "de_en": ("en-de", ["--swap"], "German to English: {source}\n"),
    "en_cs": ("en-cs", [], "English to Czech: {source}\n"),
    "cs_en": ("en-cs", ["--swap"], "Czech to English: {source}\n"),
}
"""Name → corpus, how it is turned, prompt."""


@pytest.fixture
def asked(tmp_path):
    """Runs the script where the teachers are trained; every ``sekd`` command that it gives."""
    sekd = tmp_path / "sekd.py"
    sekd.write_text(SEKD.format(str(tmp_path / "said")), encoding="utf-8")
    rows = read_sweep(FOLDER / "experiments" / "teachers.yaml").rows
    for place, row in product([".", *(f"runs/{pair}" for pair in PAIRS)], rows):
        for step in (500, 3000):
            folder = f"runs/experiments/teachers/runs/{row.name}/seed_1/checkpoints/step_{step}"
            (tmp_path / place / folder).mkdir(parents=True)

    def run(*tables, **variables):
        environment = {**os.environ, "SEKD": f"{sys.executable} -IS {sekd}", **variables}
        script = FOLDER / "experiments" / "run.sh"
        subprocess.run([script, *tables], cwd=tmp_path, env=environment, check=True)
        said = (tmp_path / "said").read_text().splitlines()
        (tmp_path / "said").unlink()
        return [json.loads(line) for line in said]

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
    assert asked("beta")[1][-2:] == ["--only", "clean"]


def test_a_table_gets_its_students_and_no_others(asked):
    def students(*tables):
        command = asked(*tables)[2]
        return command[command.index("--only") + 1 :]

    assert students("beta", "random") == ["student"]
    assert students("smaller") == ["student", "smaller"]
    assert students("beta", "larger") == ["student", "larger"]
    assert students() == [row.name for row in read_sweep(STUDENTS).rows]


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


@pytest.mark.parametrize("pair", PAIRS)
def test_another_pair_has_its_corpus_and_its_prompt_in_every_step(asked, pair):
    corpus, turned, template = PAIRS[pair]
    commands = asked("recommended", PAIR=pair)
    prepare = commands[0]
    assert f"/{corpus}/train.jsonl" in prepare[prepare.index("--train") + 1]
    assert [word for word in prepare if word == "--swap"] == turned
    assert prepare[prepare.index("--template") + 1] == template
    for command in commands:
        if command[0] == "sweep":
            over = command[command.index("--over") + 1]
            sweep = read_sweep(Path(command[1]), over=[Path(over)])
            for trial in (trial for row in sweep.rows for trial in row.trials):
                assert trial.settings["dataset.template"] == template
    (cache,) = caches_of(commands).values()
    assert yaml.safe_load(cache["dataset.template"]) == template


def test_a_pair_that_there_is_not_is_refused_by_name(tmp_path):
    script = FOLDER / "experiments" / "run.sh"
    environment = {**os.environ, "PAIR": "en_fr"}
    ended = subprocess.run([script], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ended.returncode == 2
    assert "'en_fr'" in ended.stderr and "en_cs" in ended.stderr
    assert not list(tmp_path.iterdir())
