"""Every divergence as the loss, with every one as the difficulty, every threshold and proxy."""

import math

import pytest
import torch
from divergence_definitions import ONE_OF_EACH, name_of
from method_definition import PROXIES, method

from sekd_plugin import SelfEvolutionKD, proxies, thresholds

BETA, TEACHER_WEIGHT = 0.4, 0.6
THRESHOLDS = {
    "fixed": lambda d: {"gamma": float(d.median())},
    "dynamic": lambda d: {},
    "top_k": lambda d: {"k": 3},
    "schedule": lambda d: {
        "start": float(d.median()),
        "end": 0.0,
        "num_steps": 5,
        "shape": "cosine",
    },
    "target_ratio": lambda d: {"ratio": 0.5},
}
"""Settings that make some of the tokens hard, given the difficulties."""


def batch():
    generator = torch.Generator().manual_seed(4)
    student, teacher = (
        1.5 * torch.randn(6, 4, generator=generator, dtype=torch.float64) for _ in range(2)
    )
    return student, teacher, torch.randint(0, 4, (6,), generator=generator)


def ours(registry):
    return {n for n in registry.names() if registry.get(n).__module__.startswith("sekd_plugin.")}


def test_every_threshold_and_proxy_takes_part():
    assert set(THRESHOLDS) == ours(thresholds)
    assert set(PROXIES) == ours(proxies)


def expected_by_row(divergence, proxy):
    """Loss and gradient of each row, were it easy or hard, from the definition."""
    student, teacher, targets = batch()
    found = {}
    for hard in (False, True):
        leaf = student.clone().requires_grad_()
        _, _, losses = method(
            leaf,
            teacher,
            targets,
            teacher_weight=TEACHER_WEIGHT,
            beta=BETA,
            gamma=math.nan,
            divergence=divergence,
            proxy=PROXIES[proxy],
            hard=torch.full((6,), hard),
        )
        (gradient,) = torch.autograd.grad(losses.sum(), leaf)
        found[hard] = losses.detach(), gradient
    return found


def expected_difficulty(divergence):
    student, teacher, targets = batch()
    settings = {"teacher_weight": TEACHER_WEIGHT, "beta": BETA, "gamma": math.inf}
    return method(student, teacher, targets, divergence=divergence, **settings)[0]


@pytest.mark.parametrize(
    ("loss", "definition"), ONE_OF_EACH, ids=[name_of(section) for section, _ in ONE_OF_EACH]
)
def test_each_loss_works_with_each_difficulty_threshold_and_proxy(loss, definition):
    student, teacher, targets = batch()
    by_row = {proxy: expected_by_row(definition, proxy) for proxy in PROXIES}
    for difficulty, difficulty_definition in ONE_OF_EACH:
        expected = expected_difficulty(difficulty_definition)
        for threshold, settings in THRESHOLDS.items():
            for proxy in PROXIES:
                criterion = SelfEvolutionKD(
                    teacher_weight=TEACHER_WEIGHT,
                    beta=BETA,
                    divergence=loss,
                    difficulty=difficulty,
                    threshold={"name": threshold, "config": settings(expected)},
                    proxy=proxy,
                )
                # A finished step, from which some thresholds learn their Γ.
                criterion(student, teacher, targets)
                criterion.step()
                leaf = student.clone().requires_grad_()
                output = criterion(leaf, teacher, targets)
                output.loss.backward()

                torch.testing.assert_close(output.difficulty, expected, rtol=1e-9, atol=1e-12)
                assert output.num_targets == 6
                assert 0 < int(output.hard.sum()) < 6  # both branches
                assert torch.equal(output.hard, output.difficulty > output.gamma)
                easy, hard = by_row[proxy][False], by_row[proxy][True]
                rows = output.hard
                losses = torch.where(rows, hard[0], easy[0])
                torch.testing.assert_close(output.token_loss, losses, rtol=1e-8, atol=1e-11)
                assert output.loss.item() == pytest.approx(float(losses.sum()), rel=1e-8)
                gradient = torch.where(rows[:, None], hard[1], easy[1])
                torch.testing.assert_close(leaf.grad, gradient, rtol=1e-7, atol=1e-10)
