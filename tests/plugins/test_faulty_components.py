"""A divergence that fails while it is used is named in one line, in the core and in training."""

import math
import sys

import pytest
import torch

from sekd_plugin import ConfigError, CrossEntropy, Divergence, SelfEvolutionKD
from sekd_plugin.errors import ComponentError
from sekd_plugin.testing import check_divergence

MODULE = """
import torch
from sekd_plugin import Divergence

class Distance(Divergence):
    def forward(self, log_target, log_student):
        return (log_target.exp() - log_student.exp()).square().sum(-1)

class Total(Distance):
    def forward(self, log_target, log_student):
        return super().forward(log_target, log_student).sum()

class Undefined(Distance):
    def forward(self, log_target, log_student):
        return super().forward(log_target, log_student) + float("nan")

class WithoutGradient(Distance):
    def forward(self, log_target, log_student):
        return super().forward(log_target, log_student.detach())
"""
FAULTS = {
    "Total": "Total returned the shape () for rows (",
    "Undefined": "Undefined returned NaN on finite logits",
    "WithoutGradient": "WithoutGradient gives no gradient by the student's logits",
}


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "faulty_components.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "faulty_components", raising=False)
    return "faulty_components"


@pytest.mark.parametrize("fault", FAULTS)
def test_training_ends_with_one_line_that_names_the_class(taught, own, fault):
    error = taught.train(
        "run",
        taught.teacher("teacher", 8),
        "criterion.name=self_evolution_kd",
        f"criterion.config.divergence={own}:{fault}",
        expect=2,
    )
    assert "Traceback" not in error
    assert error.strip().splitlines()[-1].startswith(f"sekd train: {FAULTS[fault]}")


@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("fault", FAULTS)
def test_the_core_names_it_as_well(own, fault, linear):
    student, teacher = torch.randn(4, 6, requires_grad=True), torch.randn(4, 6)
    targets = torch.zeros(4, dtype=torch.long)
    criterion = SelfEvolutionKD(divergence=f"{own}:{fault}")
    with pytest.raises(ComponentError) as caught:
        if linear:
            criterion.forward_linear(student, torch.eye(6), targets=targets, teacher_logits=teacher)
        else:
            criterion(student, teacher, targets)
    assert str(caught.value).startswith(FAULTS[fault])


def test_of_two_divergences_the_one_at_fault_is_named(own):
    student, targets = torch.randn(4, 6, requires_grad=True), torch.zeros(4, dtype=torch.long)
    for settings in ({"difficulty": f"{own}:Undefined"}, {"divergence": f"{own}:Undefined"}):
        both = {"divergence": "reverse_kl", "difficulty": "reverse_kl", **settings}
        with pytest.raises(ComponentError, match=r"^Undefined returned NaN"):
            SelfEvolutionKD(**both)(student, torch.randn(4, 6), targets)


def test_a_path_with_a_dot_is_told_how_an_address_is_written():
    with pytest.raises(ConfigError, match=r"a class of your own is written 'my_package\.own:Mine'"):
        SelfEvolutionKD(divergence="my_package.own.Mine")


class Right(Divergence):
    def forward(self, log_target, log_student):
        return (log_target.exp() - log_student.exp()).square().sum(-1)


class Unmade(Right):
    def __init__(self):
        raise RuntimeError("no licence found")


def test_the_check_says_when_the_definition_is_at_fault():
    with pytest.raises(
        ConfigError, match=r"^definition: raised ZeroDivisionError: .*student_probs"
    ):
        check_divergence(Right(), lambda target, student: 1 / 0, max_examples=3)


def test_the_check_says_what_kept_a_class_from_being_made():
    with pytest.raises(
        ConfigError, match=r"divergence: Unmade cannot be made: .* no licence found"
    ):
        check_divergence(Unmade)
    with pytest.raises(ConfigError, match="Divergence cannot be made: TypeError"):
        check_divergence(Divergence)


def test_a_definition_may_be_infinite():
    with pytest.raises(AssertionError, match="the definition"):
        check_divergence(Right(), lambda target, student: math.inf, max_examples=3)


def test_a_criterion_of_one_s_own_is_named_itself():
    class OwnLoss(CrossEntropy):
        def self_evolution(self, log_target, log_student, hard):
            return super().self_evolution(log_target, log_student, hard) * math.nan

    with pytest.raises(ComponentError, match="OwnLoss returned NaN on finite logits"):
        OwnLoss()(torch.randn(4, 6), None, torch.zeros(4, dtype=torch.long))
