"""From names and settings, as they stand in a recipe, to objects; and what is said otherwise."""

import math

import pytest

from sekd_plugin import (
    ConfigError,
    Divergence,
    SelfEvolutionKD,
    criteria,
    divergences,
    register_divergence,
    thresholds,
)
from sekd_plugin.catalogue import catalogue
from sekd_plugin.divergences import ForwardKL
from sekd_plugin.registry import Registry


def refuse(section):
    with pytest.raises(ConfigError) as error:
        criteria.create(section, "criterion")
    return str(error.value)


def config(**settings):
    return {"name": "self_evolution_kd", "config": settings}


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ("self_evolution_k", ["criterion: 'self_evolution_k'", "'self_evolution_kd'?"]),
        ({"name": "self_evolution_k"}, ["criterion.name: ", "'self_evolution_kd'?"]),
        ({"nam": "word_kd"}, ["criterion.nam: is not allowed here"]),
        ({}, ["criterion.name: None is not a name"]),
        (["word_kd"], ["criterion: ['word_kd'] is not allowed"]),
        ({"name": "word_kd", "config": [1]}, ["criterion.config: [1] is not a mapping"]),
        (config(bta=1), ["criterion.config.bta: is not a setting", "'beta'?"]),
        (config(beta=1.5), ["criterion.config.beta: 1.5", "0 <= beta <= 1"]),
        (config(beta=True), ["criterion.config.beta: True", "a number"]),
        (config(beta="0.5"), ["criterion.config.beta: '0.5'", "a number"]),
        (config(beta=None), ["criterion.config.beta: None"]),
        (config(beta=math.nan), ["criterion.config.beta: nan"]),
        (config(beta={"start": 0.1}), ["criterion.config.beta.end: is missing"]),
        (
            config(beta={"start": 0.1, "end": 3, "num_steps": 5}),
            ["criterion.config.beta.end: 3", "0 <= end <= 1"],
        ),
        (
            config(beta={"start": 0.1, "end": 1, "num_steps": 5.5}),
            ["criterion.config.beta.num_steps: 5.5", "a whole number"],
        ),
        (config(divergence="kl"), ["criterion.config.divergence: 'kl'", "forward_kl"]),
        (
            config(divergence={"name": "jensen_shannon", "config": {"beta": 0.0}}),
            ["criterion.config.divergence.config.beta: 0", "'reverse_kl'"],
        ),
        (
            config(divergence={"name": "forward_kl", "config": {"beta": 0.5}}),
            ["criterion.config.divergence.config.beta: is not a setting", "known: none"],
        ),
        (
            config(difficulty={"name": "jensen_shanon"}),
            ["criterion.config.difficulty.name: ", "'jensen_shannon'?"],
        ),
        (
            config(threshold={"name": "top_k", "config": {"ratio": 2}}),
            ["criterion.config.threshold.config.ratio: 2", "0 <= ratio <= 1"],
        ),
        (
            config(threshold={"name": "fixed"}),
            ["criterion.config.threshold.config.gamma: is missing", "a number"],
        ),
        (
            config(threshold={"name": "dynamic", "config": {"statistic": "median"}}),
            ["criterion.config.threshold.config.statistic: 'median'", "'mean' or 'quantile'"],
        ),
        (
            config(proxy={"name": "linear", "config": {"rescale": "yes"}}),
            ["criterion.config.proxy.config.rescale: 'yes'", "true or false"],
        ),
        (
            config(beta=0.0, proxy={"name": "linear", "config": {"rescale": True}}),
            ["criterion.config.beta: 0 is not allowed"],
        ),
        (
            config(teacher_weight=0.0, divergence="reverse_kl"),
            ["criterion.config.teacher_weight: 0 is not allowed", "divergence"],
        ),
        (
            config(teacher_weight=0.0, difficulty="reverse_kl"),
            ["criterion.config.teacher_weight: 0 is not allowed", "difficulty"],
        ),
        (config(temperature=math.inf), ["criterion.config.temperature: inf"]),
        (config(divergence="no_module:Class"), ["no_module", "cannot be imported"]),
        (config(divergence="math:tau"), ["criterion.config.divergence: 'math:tau'", "Divergence"]),
        (
            config(divergence="sekd_plugin:Divergance"),
            ["has no class 'Divergance'", "'Divergence'?"],
        ),
    ],
)
def test_what_is_wrong_is_named_by_its_whole_key_with_what_is_allowed(section, words):
    message = refuse(section)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_a_strategy_is_a_name_a_mapping_an_object_or_an_address():
    ready = ForwardKL()
    for choice in ("forward_kl", {"name": "forward_kl"}, {"name": "forward_kl", "config": None}):
        assert type(SelfEvolutionKD(divergence=choice).divergence) is ForwardKL
    assert SelfEvolutionKD(divergence=ready).divergence is ready
    address = "sekd_plugin.divergences.kullback_leibler:ForwardKL"
    assert type(SelfEvolutionKD(divergence=address).divergence) is ForwardKL


def test_an_integer_passes_for_a_number_and_becomes_one():
    threshold = thresholds.create({"name": "fixed", "config": {"gamma": 2}}, "threshold")
    assert threshold.gamma == 2.0


def test_a_decorated_class_is_known_by_its_name_and_works_in_the_criterion():
    import torch

    @register_divergence("test_squared_distance")
    class Squared(Divergence):
        def forward(self, log_target, log_student):
            return (log_target.exp() - log_student.exp()).square().sum(-1)

    student = torch.randn(3, 4, requires_grad=True)
    output = SelfEvolutionKD(divergence="test_squared_distance")(
        student, torch.randn(3, 4), torch.tensor([0, 1, 2])
    )
    output.loss.backward()
    assert "test_squared_distance" in divergences.names()
    assert (student.grad.sum(-1).abs() < 1e-6).all()


def test_a_name_that_is_taken_is_refused_naming_both_owners():
    registry = Registry("thing", Divergence, "sekd_plugin.no_such_group")

    def make(module):
        return type("Mine", (ForwardKL,), {"__module__": module})

    registry.register("mine")(make("package_a"))
    with pytest.raises(ConfigError) as error:
        registry.register("mine")(make("package_b"))
    assert "package_a:Mine" in str(error.value) and "package_b:Mine" in str(error.value)
    registry.register("mine")(make("package_a"))  # the same class again, as after a reload


def test_a_class_of_another_kind_is_refused():
    with pytest.raises(ConfigError, match="not a subclass of Divergence"):
        register_divergence("test_not_one")(dict)


def test_every_component_says_what_it_computes_when_to_use_it_and_what_it_takes():
    entries = catalogue()
    assert {entry.kind for entry in entries} == {"criterion", "divergence", "threshold", "proxy"}
    for entry in entries:
        if not entry.defined_in.startswith("sekd_plugin."):
            continue
        assert entry.summary.endswith("."), entry.name
        assert entry.formula, entry.name
        assert "Use it" in entry.notes, entry.name
        for setting in entry.settings:
            assert setting.meaning, f"{entry.name}.{setting.name}"


def test_importing_the_core_brings_in_torch_and_no_toolkit():
    import subprocess
    import sys

    code = "import sys, sekd_plugin; print(sorted({m.split('.')[0] for m in sys.modules}))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout
    assert "'torch'" in loaded
    for name in ("fairseq2", "sentencepiece", "sacrebleu", "yaml", "ruamel", "transformers"):
        assert f"'{name}'" not in loaded
