"""Decorators in a module that the recipe names, and ``package.module:Class`` in its place."""

import itertools
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sekd_plugin.cli import main

MODULE = """
from sekd_plugin import (
    Divergence, KnownGamma, Proxy, register_divergence, register_proxy, register_threshold
)

@register_divergence("{name}_squared")
class Squared(Divergence):
    \"\"\"The squared difference of probabilities.

    Formula:
        scale·Σ (ỹ − q)²
    \"\"\"

    def __init__(self, scale: float = 1.0):
        self.scale = scale

    def forward(self, log_target, log_student):
        return self.scale * (log_target.exp() - log_student.exp()).square().sum(-1)

@register_threshold("{name}_constant")
class Constant(KnownGamma):
    @property
    def gamma(self):
        return 0.125

@register_proxy("{name}_target")
class Target(Proxy):
    def forward(self, log_target, log_student, beta):
        return log_target, log_student
"""
numbers = itertools.count()


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    """A module of the user's in the current folder, of a name not used before."""
    name = f"own_module_{next(numbers)}"
    (tmp_path / f"{name}.py").write_text(MODULE.format(name=name), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return name


def test_what_a_named_module_registers_is_trained_with_by_name(taught, own_module):
    taught.train(
        "run",
        taught.teacher("teacher", 8),
        f"plugins=[{own_module}]",
        "criterion.name=self_evolution_kd",
        f"criterion.config.divergence={{name: {own_module}_squared, config: {{scale: 0.5}}}}",
        f"criterion.config.threshold={own_module}_constant",
        f"criterion.config.proxy={own_module}_target",
    )
    last = taught.metrics("run")[-1]
    assert last["Gamma"] == 0.125
    assert 0.0 < last["Difficulty p99"] <= 1.0


def test_a_class_is_trained_with_by_its_address_without_any_registration(taught, own_module):
    taught.train(
        "run",
        taught.teacher("teacher", 8),
        "criterion.name=self_evolution_kd",
        f"criterion.config.divergence={own_module}:Squared",
        f"criterion.config.threshold.name={own_module}:Constant",
        f"criterion.config.proxy={own_module}:Target",
    )
    assert taught.metrics("run")[-1]["Gamma"] == 0.125


@pytest.mark.parametrize(
    ("plugins", "words"),
    [
        (
            "[torch, no_such_module]",
            ["plugins.1: 'no_such_module' cannot be imported", "No module"],
        ),
        ("[failing]", ["plugins.0: 'failing' cannot be imported", "ZeroDivisionError"]),
        ("[unparsable]", ["plugins.0: 'unparsable' cannot be imported", "SyntaxError"]),
        (
            "[grasping]",
            [
                "plugins.0: 'grasping' cannot be imported",
                "sekd_plugin.divergences.kullback_leibler:ForwardKL",
                "grasping:Mine",
            ],
        ),
        ("['']", ["plugins.0: '' cannot be imported"]),
        ("torch", ["plugins: 'torch' is not allowed", "a list"]),
        ("[1]", ["plugins.0: 1 is not allowed", "a text"]),
    ],
)
def test_a_module_that_cannot_be_imported_is_one_line_that_names_its_place(
    workshop, own_module, plugins, words
):
    Path("failing.py").write_text("1 / 0")
    Path("unparsable.py").write_text("def\n")
    Path("grasping.py").write_text(
        MODULE.format(name="grasping")
        .replace("Squared", "Mine")
        .replace("grasping_squared", "forward_kl")
    )
    error = workshop.train("run", f"plugins={plugins}", expect=2)
    assert error.startswith("sekd train: plugins") and len(error.strip().splitlines()) == 1
    for word in words:
        assert word in error
    assert not (workshop.folder / "run").exists()


def test_without_its_module_a_name_is_not_known(taught, own_module):
    error = taught.train(
        "run",
        taught.teacher("teacher", 8),
        "criterion.name=self_evolution_kd",
        f"criterion.config.divergence={own_module}_squared",
        expect=2,
    )
    assert f"'{own_module}_squared' is not a divergence" in error


def test_the_list_takes_a_module_too(own_module, capsys):
    assert main(["list", f"{own_module}_squared", "--plugin", own_module]) == 0
    page = capsys.readouterr().out
    assert "scale·Σ (ỹ − q)²" in page and "scale: a number; default 1.0" in page
    assert main(["list", "--plugin", "torch", "--plugin", "no_such_module"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("sekd list: --plugin.1: 'no_such_module' cannot be imported: ")


def test_the_list_says_of_a_class_without_a_docstring_where_it_is(own_module, capsys):
    assert main(["list", "--plugin", own_module]) == 0
    table = capsys.readouterr().out
    assert f"{own_module}_constant" in table and f"(no docstring; {own_module}:Constant)" in table


def test_the_console_command_finds_modules_of_the_current_folder(own_module):
    command = Path(sys.executable).parent / "sekd"
    done = subprocess.run([command, "list", "--plugin", own_module], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"{own_module}_squared" in done.stdout


def test_a_decorated_class_works_in_the_core_like_a_built_in(own_module, monkeypatch):
    monkeypatch.syspath_prepend(".")
    from sekd_plugin import SelfEvolutionKD
    from sekd_plugin.plugins import import_plugins

    import_plugins([own_module], "plugins")
    import_plugins([own_module], "plugins")  # a second time changes nothing
    student = torch.randn(8, 5, requires_grad=True)
    criterion = SelfEvolutionKD(
        divergence=f"{own_module}_squared", threshold=f"{own_module}_constant"
    )
    output = criterion(student, torch.randn(8, 5), torch.zeros(8).long())
    output.loss.backward()
    assert torch.equal(output.hard, output.difficulty > 0.125)
    assert student.grad.abs().sum() > 0
