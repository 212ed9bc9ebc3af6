"""The pictures show what the code does, and nothing is fetched to show them."""

import math
import re
import xml.etree.ElementTree as ElementTree

import numpy
import pytest
import torch
from chart import STYLES
from component_sections import built_in
from divergence_pictures import divergence_picture, measured_table
from offline import fetched_from_elsewhere
from proxy_pictures import BETAS, TARGET, curves, proxy_picture, pull_on_gold
from replay import RECORDING, RUNS, recorded, replay
from threshold_pictures import EXAMPLES, threshold_picture
from two_words import two_word_curve

from sekd_plugin import divergences

LOGITS = torch.linspace(-6.0, 6.0, 41, dtype=torch.float64)
Q = 1.0 / (1.0 + torch.exp(-LOGITS))


def close(found, expected):
    return torch.allclose(torch.as_tensor(found, dtype=torch.float64), expected, atol=1e-9)


@pytest.mark.parametrize("target", [0.9, 0.5, 1.0])
def test_forward_kl_is_drawn_as_its_closed_form(target):
    curve = two_word_curve(divergences.create("forward_kl", ""), target, LOGITS)
    value = -target * Q.log() - (1.0 - target) * (1.0 - Q).log()
    if target < 1.0:
        value += target * math.log(target) + (1.0 - target) * math.log(1.0 - target)
    assert close(curve.student, Q) and close(curve.value, value)
    assert close(curve.gradient, Q - target)


def test_total_variation_is_drawn_as_its_closed_form():
    curve = two_word_curve(divergences.create("total_variation", ""), 0.9, LOGITS)
    assert close(curve.value, (Q - 0.9).abs())
    assert close(curve.gradient, (Q - 0.9).sign() * Q * (1.0 - Q))


STUDENT = torch.logspace(-5, -0.1, 30, dtype=torch.float64)


@pytest.mark.parametrize("beta", BETAS)
def test_the_pull_of_each_proxy_is_its_closed_form(beta):
    easy = TARGET - STUDENT
    blend = beta * STUDENT + (1.0 - beta) * TARGET
    other = beta * (1.0 - STUDENT) + (1.0 - beta) * (1.0 - TARGET)
    ratio, other_ratio = TARGET / blend, (1.0 - TARGET) / other
    linear = beta * STUDENT * (ratio - STUDENT * ratio - (1.0 - STUDENT) * other_ratio)
    powers = STUDENT**beta * TARGET ** (1.0 - beta)
    others = (1.0 - STUDENT) ** beta * (1.0 - TARGET) ** (1.0 - beta)
    expected = {
        "linear": linear,
        "linear, rescale": linear / beta,
        "log_linear": beta * (TARGET - powers / (powers + others)),
        "detached": (1.0 - beta) * easy,
    }
    assert set(curves()) == set(expected)
    assert close(pull_on_gold("linear", beta, STUDENT, hard=False), easy)
    for label, proxy in curves().items():
        assert close(pull_on_gold(proxy, beta, STUDENT), expected[label]), label


def test_the_page_on_proxies_says_what_is_measured(root):
    page = " ".join((root / "docs" / "choosing" / "proxy.md").read_text().split())
    one_in_a_thousand = torch.tensor([1e-3], dtype=torch.float64)
    for beta, said in ((0.5, "0.0009"), (0.9, "0.009")):
        pull = float(pull_on_gold("linear", beta, one_in_a_thousand))
        assert f"{said} at β = {beta}" in page and f"{pull:.1g}" == said
    easy = float(pull_on_gold("linear", 0.5, one_in_a_thousand, hard=False))
    assert f"with {easy:.3f}" in page


def test_the_recording_is_small_plain_and_sorted():
    assert RECORDING.stat().st_size < 300_000
    with numpy.load(RECORDING, allow_pickle=False) as arrays:
        assert set(arrays) == set(RUNS)
    for run in RUNS:
        difficulties = recorded(run)
        assert difficulties.shape[0] >= 200 and difficulties.shape[1] == 128
        assert bool(torch.isfinite(difficulties).all())
        assert bool((difficulties.diff(dim=1) >= 0.0).all())


def test_a_replay_follows_the_definition():
    steps = torch.tensor([[0.0, 1.0, 2.0, 3.0], [0.0, 2.0, 4.0, 6.0], [1.0, 1.0, 1.0, 1.0]])
    fixed = replay({"name": "fixed", "config": {"gamma": 1.5}}, steps)
    assert fixed.gamma == [1.5] * 3 and fixed.hard_ratio == [0.5, 0.75, 0.0]
    dynamic = replay({"name": "dynamic", "config": {"momentum": 0.5}}, steps)
    assert math.isnan(dynamic.gamma[0]) and dynamic.gamma[1:] == [1.5, 0.5 * 1.5 + 0.5 * 3.0]
    assert dynamic.hard_ratio == [0.0, 0.75, 0.0]
    top = replay({"name": "top_k", "config": {"ratio": 0.5}}, steps)
    assert top.gamma == [1.0, 2.0, 1.0] and top.hard_ratio == [0.5] * 3


QUANTILE = {"statistic": "quantile", "quantile": 0.7}


@pytest.mark.parametrize(
    ("run", "name", "config", "steps", "share"),
    [
        ("continued", "fixed", {"gamma": 3.0}, slice(None), 0.2),
        ("from_scratch", "fixed", {"gamma": 3.0}, slice(1, 21), 1.0),
        ("from_scratch", "dynamic", QUANTILE, slice(1, 21), 0.2),
        ("from_scratch", "dynamic", {**QUANTILE, "momentum": 0.99}, slice(-50, None), 0.22),
        ("from_scratch", "target_ratio", {"ratio": 0.3}, slice(1, 21), 0.3),
        ("from_scratch", "target_ratio", {"ratio": 0.3}, slice(-50, None), 0.3),
        ("continued", "dynamic", {}, slice(1, None), 0.44),
    ],
)
def test_the_page_on_thresholds_says_what_is_replayed(run, name, config, steps, share):
    ratios = replay({"name": name, "config": config}, recorded(run)).hard_ratio[steps]
    assert abs(sum(ratios) / len(ratios) - share) < 0.012


def test_every_component_that_has_a_picture_is_drawn():
    assert {entry.name for entry in built_in("threshold")} == set(EXAMPLES)
    assert all(len(examples) <= len(STYLES) for examples in EXAMPLES.values())
    for entry in built_in("divergence"):
        assert f"| [`{entry.name}`](#{entry.name}) |" in measured_table()


@pytest.mark.parametrize(
    "draw",
    [
        lambda: divergence_picture("reverse_kl"),
        lambda: threshold_picture("dynamic"),
        proxy_picture,
    ],
    ids=["divergence", "threshold", "proxies"],
)
def test_a_picture_is_the_same_svg_every_time_and_readable_without_colour(draw):
    picture = draw()
    assert picture == draw()
    root = ElementTree.fromstring(picture)
    assert root.tag.endswith("svg")
    assert "fill: #ffffff" in picture, "the background is opaque"
    assert not re.search(r"""(?:href|src)=["'](?!#)""", picture)
    dashes = {dashes for _, dashes in STYLES}
    assert len(dashes) == len(STYLES)


def test_what_a_page_would_fetch_from_another_host_is_found(tmp_path):
    (tmp_path / "good.html").write_text(
        '<a href="https://example.org/x">x</a><img src="pictures/x.svg">'
        '<link rel="canonical" href="https://example.org/"><script src="a.js"></script>'
    )
    (tmp_path / "bad.html").write_text(
        '<script src="https://example.org/a.js"></script>'
        '<link rel="stylesheet" href="//example.org/a.css">'
        '<p style="background: url(https://example.org/a.png)">x</p>'
    )
    (tmp_path / "bad.css").write_text('@import "https://example.org/b.css";')
    assert fetched_from_elsewhere(tmp_path) == [
        "bad.html: https://example.org/a.js",
        "bad.html: //example.org/a.css",
        "bad.html: https://example.org/a.png",
        "bad.css: https://example.org/b.css",
    ]
