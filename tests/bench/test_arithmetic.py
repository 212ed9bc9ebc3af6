"""Ratios, verdicts and tables, from made-up figures."""

import math

import pytest
from bench.statistics import quantile, ratios
from bench.tables import growth_table, point_table, step_table, target_table
from bench.targets import judge, time_ratio
from bench.timing import measure_rounds

MIB = 2**20


def one(seconds, extra=None, computes="KL", group="peer", **more):
    return {
        "group": group,
        "computes": computes,
        "status": "measured",
        "seconds": seconds,
        "extra_bytes": extra,
        **more,
    }


def linear(**contenders):
    return {
        "job": "linear",
        "device": "cpu",
        "dtype": "float32",
        "tokens": 4096,
        "vocabulary": 128_000,
        "hidden": 8,
        "hard_share": 0.3,
        "logits_bytes": 2000 * MIB,
        "gradient_bytes": 4 * MIB,
        "contenders": contenders,
    }


def verdicts(result):
    return {found.target: found for found in judge("here", result)}


def test_quantiles_lie_between_neighbours():
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert quantile([0.0, 10.0], 0.1) == pytest.approx(1.0)
    assert math.isnan(quantile([], 0.5))


def test_ratios_are_taken_round_by_round():
    """The second round is ten times slower for both, which changes no ratio."""
    found = ratios([2.0, 20.0, 2.2], [1.0, 10.0, 1.0])
    assert found.median == pytest.approx(2.0)
    assert found.low == pytest.approx(2.0)
    assert found.high == pytest.approx(2.16)


def test_every_contender_runs_once_a_round_in_changing_orders():
    ran = []
    works = {name: lambda name=name: ran.append(name) for name in "abcd"}
    seconds = measure_rounds(
        works, rounds=6, seed=1, clock=lambda work: work() or 1.0, between=lambda: None
    )
    rounds = ["".join(ran[start : start + 4]) for start in range(0, 24, 4)]
    assert {"".join(sorted(found)) for found in rounds} == {"abcd"}
    assert len(set(rounds)) > 1
    assert seconds == {name: [1.0] * 6 for name in "abcd"}


def test_the_fastest_and_the_smallest_peer_are_the_ones_to_beat():
    found = verdicts(
        linear(
            ours_fixed=one([1.0, 1.0], 40 * MIB),
            ours_word_kd=one([1.0, 0.8]),
            ours_top_k=one([1.4, 1.4]),
            liger_kl=one([1.8, 1.8], 70 * MIB),
            liger_jsd=one([1.6, 1.6], 90 * MIB),
            trl_kl=one([1.4, 1.4], 100 * MIB),
            dense=one([9.0, 9.0], 1000 * MIB),
        )
    )
    assert found["time of the fastest Liger / ours ≥ 1.5"].measured == pytest.approx(1.6)
    assert found["time of the fastest Liger / ours ≥ 1.5"].verdict == "met"
    assert found["time of the fastest TRL / ours ≥ 1.5"].verdict == "missed"
    smallest = found["extra memory of ours / the smallest of Liger and TRL ≤ 0.5"]
    assert (smallest.measured, smallest.verdict) == (pytest.approx(40 / 70), "missed")
    assert found["extra memory of ours / dense ≤ 0.05"].verdict == "met"
    assert found["time of ours / our word_kd ≤ 1.10"].measured == pytest.approx(1.125)
    assert found["time of top_k / our word_kd ≤ 1.35"].verdict == "missed"


def test_a_dense_reference_that_ran_out_of_memory_bounds_the_share():
    dense = {"group": "dense", "computes": "method", "status": "out of memory", "reason": "no room"}
    result = linear(
        ours_fixed=one([1.0], 40 * MIB), dense=dense | {"extra_bytes_at_least": 900 * MIB}
    )
    (found,) = (v for target, v in verdicts(result).items() if "at most" in target)
    assert (found.measured, found.verdict) == (pytest.approx(40 / 900), "met")
    assert "> 900.0" in point_table("here", result)


def test_what_is_absent_is_said_and_not_guessed():
    absent = {"group": "peer", "computes": "KL", "status": "absent", "reason": "no module 'trl'"}
    result = linear(ours_fixed=one([1.0], MIB), trl_kl=absent)
    found = verdicts(result)["time of the fastest TRL / ours ≥ 1.5"]
    assert (found.measured, found.verdict) == (None, "not measured: no module 'trl'")
    assert "trl_kl: absent: no module 'trl'" in point_table("here", result)
    assert "not measured: no module 'trl'" in target_table(judge("here", result))
    assert time_ratio(result["contenders"], ["nobody"], "ours_fixed") == "not measured"


def test_tables_show_medians():
    result = linear(ours_fixed=one([0.010, 0.030, 0.020], 2 * MIB), liger_kl=one([0.05] * 3, MIB))
    table = point_table("here", result)
    assert "20.0" in table and "50.0" in table and "2.50" in table
    assert "20.0" in growth_table([result], ["ours_fixed", "dense"])
    steps = {"seconds_per_step": {"cross_entropy": [0.1, 0.1], "word_kd": [0.12, 0.13]}}
    assert "1.25" in step_table(steps)
    assert "not measured: no corpus" in step_table({"reason": "no corpus"})
