"""Every built-in passes the checks that its own kind is held to."""

import os
import subprocess
import sys

import pytest
from divergence_definitions import DEFINITIONS, name_of, title_of
from examples import fewer

from sekd_plugin import divergences, proxies, thresholds
from sekd_plugin.testing import (
    check_divergence,
    check_proxy,
    check_threshold,
    divergence_laws,
    proxy_laws,
    threshold_laws,
)

FUZZING = "FUZZ_SEED" in os.environ
SEED = int(os.environ.get("FUZZ_SEED", "0"))
FEW = 7


def laws(kind):
    """Which laws to check at a time: all (None) or, at length, each by itself."""
    return pytest.mark.parametrize("law", [law.name for law in kind.LAWS] if FUZZING else [None])


def share(built_ins):
    """How many examples of a law each of them gets: together they get a property's number."""
    return -(-fewer(FEW * len(built_ins)) // len(built_ins))


def skipped(kind, law, never=()):
    return {other.name for other in kind.LAWS if law not in (None, other.name)} | set(never)


# The shares of adaptive_kl are constants to the gradient, which is therefore not the slope.
NOT_A_SLOPE = ("the gradient is the slope of the value", "a gradient to the target is true")

THRESHOLDS = [
    {"name": "fixed", "config": {"gamma": 1.5}},
    {"name": "dynamic", "config": {"momentum": 0.0}},
    {"name": "dynamic", "config": {"statistic": "quantile", "quantile": 0.7}},
    {"name": "top_k", "config": {"k": 2}},
    {"name": "top_k", "config": {"k": 2, "scope": "global"}},
    {"name": "top_k", "config": {"ratio": 0.4, "per": "sentence"}},
    {"name": "schedule", "config": {"start": 3.0, "end": 0.5, "num_steps": 3, "shape": "cosine"}},
    {
        "name": "schedule",
        "config": {"start": 0.9, "end": 0.1, "num_steps": 2, "quantity": "ratio"},
    },
    {"name": "target_ratio", "config": {"ratio": {"start": 0.2, "end": 0.7, "num_steps": 2}}},
]
COUNTS = (0, 1, 3)
PROXIES = ["linear", {"name": "linear", "config": {"rescale": True}}, "log_linear", "detached"]


def ours(registry):
    return {n for n in registry.names() if registry.get(n).__module__.startswith("sekd_plugin.")}


def test_every_built_in_is_checked_here():
    assert {name_of(section) for section, _ in DEFINITIONS} == ours(divergences)
    assert {name_of(section) for section in THRESHOLDS} == ours(thresholds)
    assert {name_of(section) for section in PROXIES} == ours(proxies)


@pytest.mark.laws
@laws(divergence_laws)
@pytest.mark.parametrize("divergence", [s for s, _ in DEFINITIONS], ids=title_of)
def test_a_built_in_divergence_passes(divergence, law):
    never = NOT_A_SLOPE if name_of(divergence) == "adaptive_kl" else ()
    skip = skipped(divergence_laws, law, never)
    check_divergence(divergence, max_examples=share(DEFINITIONS), seed=SEED, skip=skip)


@pytest.mark.laws
@laws(threshold_laws)
@pytest.mark.parametrize("threshold", THRESHOLDS, ids=str)
def test_a_built_in_threshold_passes(threshold, law):
    skip = skipped(threshold_laws, law)
    check_threshold(threshold, max_examples=share(THRESHOLDS), seed=SEED, skip=skip)


@pytest.mark.laws
@pytest.mark.parametrize("k", COUNTS)
def test_top_k_marks_the_count_it_promises(k):
    top_k = {"name": "top_k", "config": {"k": k}}
    skip = skipped(threshold_laws, "none of them")
    check_threshold(
        top_k, count=lambda n: min(n, k), max_examples=share(COUNTS), seed=SEED, skip=skip
    )


@pytest.mark.laws
@laws(proxy_laws)
@pytest.mark.parametrize("proxy", PROXIES, ids=str)
def test_a_built_in_proxy_passes(proxy, law):
    check_proxy(proxy, max_examples=share(PROXIES), seed=SEED, skip=skipped(proxy_laws, law))


OTHER_SUITE = """
import unittest, sys
from sekd_plugin import Divergence
from sekd_plugin.testing import check_divergence

class Squared(Divergence):
    def forward(self, log_target, log_student):
        return (log_target.exp() - log_student.exp()).square().sum(-1)

class Doubtful(Squared):
    def forward(self, log_target, log_student):
        return super().forward(log_target, log_student) - 1e-3

class Suite(unittest.TestCase):
    def test_squared(self):
        check_divergence(Squared(), max_examples=3)
    def test_doubtful(self):
        check_divergence(Doubtful, max_examples=3)

result = unittest.main(exit=False, verbosity=0).result
assert not result.errors and len(result.failures) == 1 and "zero where" in result.failures[0][1]
assert "pytest" not in sys.modules
"""


def test_a_suite_without_pytest_can_call_the_checks():
    subprocess.run([sys.executable, "-c", OTHER_SUITE], check=True, capture_output=True)
