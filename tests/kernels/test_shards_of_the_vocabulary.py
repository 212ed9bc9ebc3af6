"""Words divided into shards: what these contribute comes to what whole rows come to."""

import json

import pytest
import shards_on_ranks
import torch
from forward_kl_rows import straining_rows
from ranks_in_processes import run_ranks
from shards_at_hand import streamed_in_shards
from streamed_rows import defined, every_second, expect_equal, the_others

from sekd_plugin.kernels import passes

HALF = {"teacher_weight": 0.5, "beta": 0.5}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("places", [(1,), (16,), (32,), (5, 20)])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_shards_at_hand(dtype, places, temperature):
    rows = straining_rows(33, dtype)
    for decide in (every_second, the_others):
        found = streamed_in_shards(passes, *rows, HALF, places, temperature, decide)
        expected = defined(*rows, {**HALF, "temperature": temperature}, decide)
        expect_equal(found, expected)


@pytest.mark.parametrize("whose", [0, 1])
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_a_row_that_is_not_finite_has_no_difficulty(whose, value):
    rows = [torch.randn(3, 6), torch.randn(3, 6)]
    rows[whose][1, 0 if value != -torch.inf else slice(None)] = value
    found = streamed_in_shards(passes, *rows, torch.tensor([5, 5, 5]), HALF, (2, 4))
    assert found["difficulty"].isnan().tolist() == [False, True, False]


@pytest.mark.parametrize("ranks", [2, 4])
def test_shards_on_ranks(ranks, tmp_path):
    run_ranks(shards_on_ranks, tmp_path, ranks)
    found = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(ranks)]
    student, teacher, targets = straining_rows(33, torch.float32)
    expected = defined(student, teacher, targets, HALF)
    for name in ("difficulty", "token_loss", "cross_entropy", "hard", "agreement"):
        values = [torch.tensor(each[name]) for each in found]
        expect_equal({name: values[0]}, {name: expected[name]})
        assert all(torch.equal(value, values[0]) for value in values)
    slopes = torch.cat([torch.tensor(each["gradient"]) for each in found], dim=-1)
    expect_equal({"gradient": slopes}, {"gradient": expected["gradient"]})
