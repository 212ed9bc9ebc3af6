"""A package of someone else's: built, installed, listed, and trained with from YAML alone."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from commands_in_forks import Commands

TEMPLATE = Path(__file__).parent / "third_party_package"


def pip(*arguments, folder):
    subprocess.run(
        [sys.executable, "-m", "pip", *arguments, "--disable-pip-version-check", "--quiet"],
        cwd=folder,
        check=True,
        env={**os.environ, "PIP_NO_INDEX": "1"},
    )


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Commands where the package's wheel was installed."""
    folder = tmp_path_factory.mktemp("third_party")
    shutil.copytree(TEMPLATE, folder / "source")
    pip("wheel", "--no-deps", "--no-build-isolation", "./source", "-w", "wheels", folder=folder)
    (wheel,) = (folder / "wheels").glob("sekd_extras-1.0-*.whl")
    pip("install", "--no-deps", "--target", "site", str(wheel), folder=folder)
    with Commands(folder / "site") as commands:
        yield commands


def recipe(workshop, criterion):
    """The tiny recipe with a teacher and this criterion, all in one YAML file."""
    content = yaml.safe_load(workshop.recipe.read_text(encoding="utf-8"))
    content["teacher"] = yaml.safe_load(workshop.teacher("teacher", 8).removeprefix("teacher="))
    content["criterion"] = criterion
    file = workshop.folder / "third_party.yaml"
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    return file


def test_its_divergence_and_threshold_are_trained_with_from_yaml_alone(taught, installed):
    file = recipe(
        taught,
        {
            "name": "self_evolution_kd",
            "config": {
                "divergence": {"name": "triangular", "config": {"scale": 2}},
                "threshold": {"name": "times_mean", "config": {"factor": 1.2}},
            },
        },
    )
    done = installed.sekd("train", str(taught.folder / "run"), "--config-file", str(file))

    assert done.returncode == 0, done.stderr
    first, last = taught.metrics("run")
    assert last["Loss"] < first["Loss"]
    assert 0.0 < last["Difficulty p99"] < 4.0  # 2·Σ (ỹ − q)² / (ỹ + q) is at most 4
    assert 0.0 < last["Hard Ratio"] < 1.0
    assert 0.0 < last["Gamma"] < 4.0
    checkpoint = taught.folder / "run" / "checkpoints" / "step_8"
    assert checkpoint.is_dir()


def test_its_mistaken_settings_are_told_like_our_own(taught, installed):
    criterion = {"name": "self_evolution_kd", "config": {"threshold": {"name": "times_mean"}}}
    file = recipe(taught, criterion)
    done = installed.sekd("train", str(taught.folder / "run"), "--config-file", str(file))

    assert done.returncode == 2
    assert done.stderr == (
        "sekd train: criterion.config.threshold.config.factor: is missing; "
        "the threshold 'times_mean' needs a number\n"
    )


def test_it_is_listed_with_its_formula_settings_and_source(installed):
    table = installed.sekd("list")
    assert table.returncode == 0 and table.stderr == ""
    assert "triangular" in table.stdout and "times_mean" in table.stdout

    page = installed.sekd("list", "triangular").stdout
    assert "triangular (divergence, sekd_extras.triangular:Triangular)" in page
    assert "scale·Σ_v (ỹ_v − q_v)² / (ỹ_v + q_v)" in page
    assert "scale: a number; default 1.0\n      what the sum is multiplied by." in page
    assert "Source: Topsøe 2000." in page

    (entry,) = json.loads(installed.sekd("list", "times_mean", "--json").stdout)
    assert entry["kind"] == "threshold"
    assert entry["settings"][0]["default"] is None and entry["problem"] == ""


def distribution(site, name, entry_points, **modules):
    """An installed package as pip leaves it: modules beside a ``dist-info`` folder."""
    info = site / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entry_points)
    for module, text in modules.items():
        (site / f"{module}.py").write_text(text)


GOOD = """
from sekd_plugin import Divergence

class Good(Divergence):
    def forward(self, log_target, log_student):
        return (log_target.exp() - log_student.exp()).square().sum(-1)

class Other(Good):
    pass

class Unfinished(Divergence):
    pass

class Mistyped(Good):
    def __init__(self, size: "Nowhere" = 1): ...

class Unclear(Good):
    def __init__(self, size: 5 = 1): ...

class Listed(Good):
    def __init__(self, words: list[str] = ["a"]):
        self.words = words

class Choosy(Good):
    def __init__(self, size: float = 1.0):
        raise ValueError("not with\\nthis size")
"""


@pytest.fixture(scope="module")
def broken_site(tmp_path_factory):
    """Commands where each package has something wrong, beside a good one."""
    site = tmp_path_factory.mktemp("broken")
    distribution(
        site,
        "good-package",
        "[sekd_plugin.divergences]\n"
        "good = good_module:Good\n"
        "contested = good_module:Good\n"
        "choosy = good_module:Choosy\n"
        "listed = good_module:Listed\n",
        good_module=GOOD,
    )
    distribution(
        site,
        "bad-package",
        "[sekd_plugin.divergences]\n"
        "raises = raising_module:Thing\n"
        "exits = exiting_module:Thing\n"
        "absent = good_module:Nothing\n"
        "wrong_kind = collections:OrderedDict\n"
        "unfinished = good_module:Unfinished\n"
        "mistyped = good_module:Mistyped\n"
        "unclear = good_module:Unclear\n"
        "contested = good_module:Other\n"
        "hellinger = good_module:Other\n"
        "[sekd_plugin.proxies]\n"
        "no_proxy = good_module:Good\n",
        raising_module="raise RuntimeError('first line\\nsecond line')",
        exiting_module="raise SystemExit(3)",
    )
    with Commands(site) as commands:
        yield commands


PROBLEMS = {
    "raises": [
        "the divergence 'raises'",
        "raising_module:Thing of the package bad-package",
        "RuntimeError: first line second line",
    ],
    "exits": ["exiting_module:Thing of the package bad-package", "SystemExit: 3"],
    "absent": ["good_module:Nothing of the package bad-package", "Nothing"],
    "wrong_kind": ["bad-package", "OrderedDict", "not a subclass of Divergence"],
    "unfinished": ["good_module:Unfinished", "lacks forward"],
    "mistyped": ["good_module:Mistyped", "'Nowhere' is not defined"],
    "unclear": ["good_module:Unclear", "size: is annotated with 5, which is no type"],
    "contested": [
        "two classes want to be this divergence",
        "good_module:Good of the package good-package",
        "good_module:Other of the package bad-package",
    ],
    "hellinger": [
        "sekd_plugin.divergences.hellinger:Hellinger",
        "good_module:Other of the package bad-package",
    ],
    "no_proxy": ["bad-package", "not a subclass of Proxy"],
}


def test_the_list_shows_the_others_and_says_what_is_broken(broken_site):
    done = broken_site.sekd("list", "--json")
    assert done.returncode == 0 and done.stderr == ""
    entries = {entry["name"]: entry for entry in json.loads(done.stdout)}
    assert {name for name, entry in entries.items() if entry["problem"]} == set(PROBLEMS)
    for name, words in PROBLEMS.items():
        assert "\n" not in entries[name]["problem"]
        for word in words:
            assert word in entries[name]["problem"]
    assert entries["good"]["defined_in"] == "good_module:Good"
    assert entries["good"]["summary"] == ""  # it has no docstring; its base class's is not its own
    assert entries["forward_kl"]["formula"]

    table = broken_site.sekd("list").stdout
    assert "forward_kl" in table and table.count("broken: ") == len(PROBLEMS)


def test_a_broken_one_asked_for_by_name_is_one_line(broken_site):
    done = broken_site.sekd("list", "raises")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("sekd list: the divergence 'raises' of raising_module:Thing")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("name", ["raises", "contested"])
def test_training_refuses_a_broken_one_in_one_line_and_leaves_no_trace(taught, broken_site, name):
    file = recipe(taught, {"name": "self_evolution_kd", "config": {"divergence": name}})
    run = taught.folder / "run"
    done = broken_site.sekd("train", str(run), "--config-file", str(file))

    assert done.returncode == 2
    assert done.stderr.startswith("sekd train: criterion.config.divergence: ")
    assert len(done.stderr.splitlines()) == 1
    for word in PROBLEMS[name]:
        assert word in done.stderr
    assert not run.exists()


FAIRSEQ2 = """
import json
from fairseq2.recipe.component import _StandardComponentManager
from fairseq2.runtime.dependency import DependencyContainer
from fairseq2.utils.structured import StandardValueConverter
from sekd_plugin import Divergence, SekdError, SelfEvolutionKD
from sekd_plugin.toolkits.fairseq2.extension import register_extension

container = DependencyContainer()
register_extension(container)
manager = _StandardComponentManager(container, StandardValueConverter())
found = {}
for name in ("forward_kl", "good", "raises", "contested", "choosy", "listed"):
    try:
        config = manager.structure_component_config(Divergence, name, {})
        found[name] = type(manager.create_component(Divergence, name, config)).__name__
    except SekdError as error:
        found[name] = str(error)
found["criterion"] = type(SelfEvolutionKD(divergence="good").divergence).__name__
print(json.dumps(found))
"""


def test_one_broken_plugin_takes_no_other_away_from_fairseq2(broken_site):
    done = broken_site.python(FAIRSEQ2)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["forward_kl"] == "ForwardKL"
    assert found["good"] == found["criterion"] == "Good"
    assert found["listed"] == "Listed"
    for name in ("raises", "contested"):
        assert all(word in found[name] for word in PROBLEMS[name])
    assert "'choosy' cannot be made: ValueError: not with this size" in found["choosy"]
