"""The page of the recipes leaves none out, and says of each what it needs."""

import json
import re
from pathlib import Path

import pytest
from tiny_models_in_recipes import FILES, FOLDER

from sekd_plugin.cli import main

ROWS = re.findall(
    r"^\| (`.+?) \|.*\| (.+) \|$",
    (Path(__file__).parents[2] / "docs" / "recipes.md").read_text(encoding="utf-8"),
    re.M,
)
GPUS = [
    (row.split("`")[1], int(devices), float(size))
    for row, needs in ROWS
    for devices, size in re.findall(r"(\d+)(?: GPUs of 80 GiB)?: ([\d.]+) GiB", needs)
]
CPUS = [(row, int(size)) for row, needs in ROWS for size in re.findall(r"(\d+) MiB", needs)]


def test_every_recipe_is_in_the_table():
    named = [name for row, _ in ROWS for name in re.findall(r"`(.+?)`", row)]
    folders = {name.split("/")[0] for name in named if name.endswith("/")}
    known = {name.split("/")[-1] for name in named}
    left_out = [
        str(file) for file in FILES if file.stem not in known and file.parts[0] not in folders
    ]
    assert left_out == []


def plan(recipe, capsys, *options):
    file = FOLDER / f"{recipe}.yaml"
    assert main(["memory-plan", "--config-file", str(file), "--json", *options]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(("recipe", "devices", "size"), GPUS)
def test_gpus_hold_what_the_table_says(recipe, devices, size, capsys):
    made = plan(recipe, capsys, "--devices", str(devices), "--device-memory", "80GiB")
    assert made["fits"]
    assert (made["peak_bytes"] + made["reserve_bytes"]) / 2**30 == pytest.approx(size, abs=0.051)


def test_the_table_says_so_of_all_that_have_a_plan():
    assert {recipe.split("/")[0] for recipe, _, _ in GPUS} == {"wmt22", "cluster"}
    assert len(GPUS) == 11 and len(CPUS) == 6


@pytest.mark.parametrize(("row", "size"), CPUS)
def test_a_cpu_holds_what_the_table_says(row, size, capsys):
    sizes = [
        round(plan(f"sample/{name.split('/')[-1]}", capsys, "--cpu")["peak_bytes"] / 2**20)
        for name in re.findall(r"`(.+?)`", row)
    ]
    assert size in sizes
