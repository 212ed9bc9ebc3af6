"""The wheel, installed where nothing of the checkout is in reach."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest
import torch

from sekd_plugin.recipes_folder import recipes_folder

ROOT = Path(__file__).resolve().parents[2]
NOT_SHIPPED = shutil.ignore_patterns("__pycache__", ".*")


def run(*words: str | Path, cwd: Path, expect: int = 0) -> str:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run(
        words, cwd=cwd, capture_output=True, text=True, env=environment, timeout=250, check=False
    )
    assert done.returncode == expect, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy, so that no build folder lands in the checkout."""
    copy = tmp_path_factory.mktemp("copy")
    for folder in ("sekd_plugin", "recipes"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=NOT_SHIPPED)
    for file in ("pyproject.toml", "LICENSE", "README.md"):
        shutil.copy(ROOT / file, copy)
    build = ("-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", "out", ".")
    run(sys.executable, *build, cwd=copy)
    (built,) = (copy / "out").iterdir()
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """A clean environment with the wheel; the packages of others are lent from this one."""
    place = tmp_path_factory.mktemp("clean")
    environment = place / "environment"
    run(sys.executable, "-m", "venv", "--without-pip", environment, cwd=place)
    python = environment / "bin" / "python"
    offline = ("--no-index", "--no-deps", "--disable-pip-version-check")
    run(
        *(sys.executable, "-m", "pip", "--python", python, "install", *offline, wheel),
        cwd=place,
    )
    site_packages = next(environment.glob("lib/python*/site-packages"))
    # A line in a .pth adds the folder, but not the editable install that its own .pth files name.
    lent = Path(torch.__file__).parents[1]
    (site_packages / "lent.pth").write_text(f"{lent}\n")
    for library in (Path(sys.prefix) / "lib").glob("lib*"):
        (environment / "lib" / library.name).symlink_to(library)
    return environment


def python(installed: Path, code: str) -> str:
    return run(installed / "bin" / "python", "-c", code, cwd=installed)


WHAT_IS_FOUND = """
import importlib.metadata, inspect, json, sys

import sekd_plugin

found = {"modules": sorted(sys.modules), "package": sekd_plugin.__file__}
from sekd_plugin.recipes_folder import recipes_folder

found["recipes"] = str(recipes_folder())
points = importlib.metadata.entry_points(group="fairseq2.extension", name="sekd_plugin")
(point,) = points
found["extension"] = inspect.getfile(point.load())
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(installed) -> dict:
    """What one program sees there: it loads the package, then the extension with fairseq2."""
    return json.loads(python(installed, WHAT_IS_FOUND).splitlines()[-1])


def shipped_files() -> set[str]:
    modules = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "sekd_plugin").rglob("*.py")
        if "__pycache__" not in path.parts
    }
    recipes = {
        f"sekd_plugin/{path.relative_to(ROOT)}"
        for path in (ROOT / "recipes").rglob("*")
        if path.is_file()
        and not any(part.startswith(".") or part == "__pycache__" for part in path.parts)
    }
    page = {
        f"sekd_plugin/analysis/difficulty/page_files/page.{ending}"
        for ending in ("html", "css", "js")
    }
    return modules | page | recipes | {"sekd_plugin/py.typed"}


def test_the_wheel_holds_every_module_and_every_recipe(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    missing = sorted(shipped_files() - names)
    assert not missing, f"list their packages in pyproject.toml, [tool.setuptools]: {missing}"
    assert not sorted(names - shipped_files())


def test_torch_is_the_only_unconditional_requirement(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        fields = message_from_bytes(archive.read(metadata))
        licence = archive.read(metadata.replace("METADATA", "licenses/LICENSE")).decode()
    required = [line for line in fields.get_all("Requires-Dist") if "extra ==" not in line]
    assert [line.split(">")[0] for line in required] == ["torch"]
    assert {"fairseq2", "report", "test"} <= set(fields.get_all("Provides-Extra"))
    assert fields["Requires-Python"] == ">=3.11"
    assert "Apache License" in licence


def test_the_package_comes_from_the_wheel_and_not_from_the_checkout(installed, found):
    assert Path(found["package"]).is_relative_to(installed)


def test_the_core_computes_its_loss_where_torch_and_its_requirements_are_all_there_is(installed):
    code = """
import re, sys
from importlib import metadata

allowed, ahead = set(), ["torch", "sekd-plugin"]
while ahead:
    name = re.sub("[-_.]+", "-", ahead.pop()).lower()
    if name in allowed:
        continue
    allowed.add(name)
    try:
        requirements = metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        continue
    ahead += [re.match(r"[\\w.-]+", r).group() for r in requirements if "extra" not in r]

def foreign(owners):
    return not {re.sub("[-_.]+", "-", owner).lower() for owner in owners} & allowed

refused = {top for top, owners in metadata.packages_distributions().items() if foreign(owners)}
assert {"fairseq2", "sentencepiece", "sacrebleu", "yaml", "numpy"} <= refused, refused

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in refused:
            raise ModuleNotFoundError(f"{name} is not part of the core")

sys.meta_path.insert(0, Refuse())
import torch
import sekd_plugin

out = sekd_plugin.SelfEvolutionKD()(torch.randn(3, 5), torch.randn(3, 5), torch.tensor([0, 1, 2]))
assert out.num_targets == 3 and out.loss.isfinite()
print(sorted({name.split(".")[0] for name in sys.modules} & refused))
"""
    assert python(installed, code).strip() == "[]"


def test_importing_the_package_loads_no_toolkit(found):
    modules = set(found["modules"])
    assert "torch" in modules
    assert not modules & {"fairseq2", "sentencepiece", "sacrebleu", "yaml", "transformers"}
    assert not [name for name in modules if name.startswith("sekd_plugin.toolkits")]


def test_the_console_command_runs(installed):
    command = installed / "bin" / "sekd"
    assert "usage: sekd COMMAND" in run(command, "--help", cwd=installed)
    assert "usage: sekd COMMAND" in run(
        *(installed / "bin" / "python", "-m", "sekd_plugin", "--help"), cwd=installed
    )


def test_fairseq2_finds_the_extension(installed, found):
    assert Path(found["extension"]).is_relative_to(installed)


def test_the_recipes_and_the_sample_corpus_are_found(installed, found):
    folder = Path(found["recipes"])
    assert folder.is_relative_to(installed)
    assert list(folder.rglob("*.yaml"))
    for pair in ("en-de", "en-cs"):
        for split in ("train", "valid", "test"):
            assert list((folder / "corpus" / pair).glob(f"{split}.*")), (pair, split)
    assert [path for path in (folder / "corpus").rglob("*") if "MPL" in path.name]


def test_a_checkout_finds_its_own_recipes():
    assert recipes_folder() == ROOT / "recipes"
