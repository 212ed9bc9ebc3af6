"""Every file under recipes/ loads, and trains tiny models for two steps on a CPU."""

import json
import math
from itertools import chain

import pytest
from ruamel.yaml import YAML
from tiny_models_in_recipes import FOLDER, STEPS, read

from sekd_plugin.cli import main
from sekd_plugin.toolkits.fairseq2.preflight import load_recipe
from sekd_plugin.toolkits.fairseq2.sweeping.plan import planned_runs
from sekd_plugin.toolkits.fairseq2.sweeping.sweep_file import read_sweep

FILES = sorted(path.relative_to(FOLDER) for path in FOLDER.rglob("*.yaml"))
"""Found here, so that a new one cannot be forgotten."""

SWEEPS = [file for file in FILES if "rows" in read(file)]
PLANS_OF_THE_DEMO = [file for file in FILES if "continuations" in read(file)]
RECIPES = [file for file in FILES if file not in [*SWEEPS, *PLANS_OF_THE_DEMO]]


@pytest.mark.parametrize("recipe", RECIPES, ids=str)
def test_a_recipe_is_read_whole(recipe, capfd):
    file = FOLDER / recipe
    # Of the demo's recipes only the demo knows where the teacher will be.
    is_bare = "path" not in read(recipe).get("teacher", {"path": None})
    added = ["--config", "teacher.path=runs/teacher"] if is_bare else []
    assert main(["train", "--config-file", str(file), *added, "--dump-config"]) == 0
    dumped = YAML(typ="safe", pure=True).load(capfd.readouterr().out)
    text = file.read_text(encoding="utf-8").replace("${dir}", str(file.parent))
    assert list(differences(YAML(typ="safe", pure=True).load(text), dumped)) == []


def differences(written, dumped, place=""):
    """Where the whole configuration does not hold what the file says."""
    for key, value in written.items() if isinstance(written, dict) else enumerate(written):
        found = dumped[key]
        if isinstance(value, dict | list) and isinstance(found, dict | list):
            yield from differences(value, found, f"{place}.{key}")
        elif found != value:
            yield f"{place}.{key}", value, found


@pytest.mark.parametrize("sweep", SWEEPS, ids=str)
def test_a_sweep_plans_runs_that_are_recipes(sweep):
    runs = list(chain.from_iterable(planned_runs(read_sweep(FOLDER / sweep)).values()))
    assert runs
    for run in runs:
        load_recipe(None, [run.recipe])


@pytest.mark.parametrize("recipe", RECIPES, ids=str)
def test_a_recipe_trains(recipe, bench, workshop):
    content = read(recipe)
    settings = bench.settings(content)
    if "teacher_cache" in content:
        folder = workshop.folder / "cache"
        teacher = bench.model(content["model"], is_read=True)
        workshop.sekd(
            "cache-teacher", folder, "--config-file", FOLDER / recipe, "--top-k", 8,
            "--config", *settings, f"teacher={json.dumps(teacher)}",
        )  # fmt: skip
        settings.append(f"teacher_cache.path={folder}")
    workshop.sekd(
        "train", workshop.folder / "run", "--config-file", FOLDER / recipe, "--config", *settings
    )

    reports = workshop.metrics("run")
    assert len(reports) == STEPS
    assert all(math.isfinite(report["Loss"]) and report["Loss"] > 0.0 for report in reports)
    assert all(report["Gradient Norm"] > 0.0 for report in reports)
    assert workshop.metrics("run", "valid")[-1]["Loss"] > 0.0
    is_taught = "teacher" in content or "teacher_cache" in content
    assert ("Teacher Agreement" in reports[-1]) == is_taught
