"""Which tokens each threshold marks, and how its Γ moves."""

import json
import math

import dynamic_on_ranks
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from ranks_in_processes import run_ranks

from sekd_plugin import ConfigError, Schedule, SelfEvolutionKD
from sekd_plugin.thresholds import (
    DynamicThreshold,
    FixedThreshold,
    ScheduleThreshold,
    TopKThreshold,
    implied_gamma,
)
from sekd_plugin.thresholds.dynamic import sorted_quantile

few_values = st.lists(st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.0]), max_size=20)


def tensor(values):
    return torch.tensor(values, dtype=torch.float32)


@given(few_values, st.sampled_from([0.0, 0.5, 0.75, 1.0, math.inf]))
def test_a_token_at_gamma_is_easy_and_one_above_is_hard(values, gamma):
    assert FixedThreshold(gamma).decide(tensor(values)).tolist() == [v > gamma for v in values]


@given(few_values, st.integers(0, 25))
def test_top_k_marks_exactly_k_and_breaks_ties_by_position(values, k):
    hard = TopKThreshold(k=k).decide(tensor(values)).tolist()
    ranking = sorted(range(len(values)), key=lambda place: (-values[place], place))
    assert hard == [place in ranking[:k] for place in range(len(values))]
    assert sum(hard) == min(k, len(values))


@given(few_values, st.floats(0, 1))
def test_a_ratio_marks_its_share_rounded_to_the_nearest(values, ratio):
    hard = TopKThreshold(ratio=ratio).decide(tensor(values))
    assert int(hard.sum()) == math.floor(ratio * len(values) + 0.5)


@given(
    st.lists(st.lists(st.sampled_from([0.0, 1.0, 2.0]), min_size=1), max_size=5), st.integers(0, 3)
)
def test_top_k_by_sentence_is_top_k_of_each_sentence(sentences, k):
    values = tensor([value for sentence in sentences for value in sentence])
    numbers = torch.tensor(
        [number * 3 for number, sentence in enumerate(sentences) for _ in sentence],
        dtype=torch.int64,
    )
    threshold = TopKThreshold(k=k, per="sentence")
    expected = [flag for s in sentences for flag in TopKThreshold(k=k).decide(tensor(s)).tolist()]
    assert threshold.decide_by_sentence(values, numbers).tolist() == expected


def test_in_a_batch_a_sentence_is_a_row_of_it():
    torch.manual_seed(0)
    student, teacher = torch.randn(3, 5, 9), torch.randn(3, 5, 9)
    mask = torch.tensor([[1, 1, 1, 1, 1], [0, 1, 1, 0, 0], [1, 0, 0, 0, 0]]).bool()
    criterion = SelfEvolutionKD(threshold={"name": "top_k", "config": {"k": 2, "per": "sentence"}})
    output = criterion(student, teacher, torch.zeros(3, 5, dtype=torch.int64), mask)
    assert [int(part.sum()) for part in output.hard.split([5, 2, 1])] == [2, 2, 1]


@given(few_values.filter(len), st.integers(0, 20))
def test_the_implied_gamma_separates_easy_from_hard(values, k):
    difficulty = tensor(values)
    hard = TopKThreshold(k=k).decide(difficulty)
    gamma = implied_gamma(difficulty, hard)
    assert (difficulty[~hard] <= gamma).all()
    assert (difficulty[hard] >= gamma).all()
    if hard.all():
        assert (difficulty > gamma).all()


def test_without_any_token_the_implied_gamma_is_infinite():
    assert implied_gamma(tensor([]), torch.zeros(0, dtype=torch.bool)) == math.inf


def test_a_dynamic_gamma_is_infinite_until_a_step_is_finished_then_a_moving_mean():
    threshold = DynamicThreshold(momentum=0.75)
    assert threshold.gamma == math.inf
    assert not threshold.decide(tensor([1e30])).any()
    threshold.step(tensor([]))
    assert threshold.gamma == math.inf
    threshold.step(tensor([1.0, 2.0, 6.0]))
    assert threshold.gamma == 3.0
    threshold.step(tensor([1.0]))
    assert threshold.gamma == 0.75 * 3.0 + 0.25 * 1.0
    threshold.step(tensor([]))
    assert threshold.gamma == 2.5
    threshold.step(tensor([0.5, math.inf]))
    assert threshold.gamma == 0.75 * 2.5 + 0.25 * 0.5


@given(st.lists(st.floats(0, 50, width=32), min_size=1, max_size=40), st.floats(0.01, 0.99))
def test_a_dynamic_quantile_is_the_exact_quantile_of_the_step(values, quantile):
    threshold = DynamicThreshold(statistic="quantile", quantile=quantile)
    threshold.step(tensor(values).sort().values)
    expected = torch.quantile(tensor(values).double(), quantile, interpolation="linear")
    assert threshold.gamma == pytest.approx(float(expected), rel=1e-12, abs=1e-12)


def test_a_quantile_has_no_limit_of_length():
    values = torch.arange(20_000_001, dtype=torch.float32)
    assert sorted_quantile(values, 0.5) == 10_000_000.0


def test_the_hard_share_of_a_quantile_is_what_it_promises():
    torch.manual_seed(0)
    threshold = DynamicThreshold(statistic="quantile", quantile=0.7, momentum=0.9)
    shares = []
    for _ in range(100):
        difficulty = torch.rand(2000).exp()
        shares.append(float(threshold.decide(difficulty).float().mean()))
        threshold.step(difficulty.sort().values)
    assert sum(shares[20:]) / 80 == pytest.approx(0.3, abs=0.01)


SHAPES = {
    "linear": lambda s: 4 + (1 - 4) * s,
    "cosine": lambda s: 1 + (4 - 1) * (1 + math.cos(math.pi * s)) / 2,
    "exponential": lambda s: 4 * (1 / 4) ** s,
    "step": lambda s: 4 if s < 1 else 1,
}


@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_a_schedule_follows_its_shape_from_start_to_end(shape):
    schedule = Schedule(4.0, 1.0, 8, shape)
    for step in range(12):
        assert schedule(step) == pytest.approx(SHAPES[shape](min(step / 8, 1.0)))
    assert schedule(0) == 4.0 and schedule(8) == 1.0


def test_a_scheduled_gamma_moves_one_step_at_a_time_and_is_known_beforehand():
    threshold = ScheduleThreshold(start=2.0, end=1.0, num_steps=4)
    assert not threshold.needs_batch
    seen = []
    for _ in range(6):
        seen.append(threshold.gamma)
        assert threshold.decide(tensor([threshold.gamma])).tolist() == [False]
        threshold.step(tensor([]))
    assert seen == [2.0, 1.75, 1.5, 1.25, 1.0, 1.0]


def test_a_scheduled_ratio_marks_its_share_of_each_batch():
    threshold = ScheduleThreshold(start=0.0, end=1.0, num_steps=4, quantity="ratio")
    assert threshold.needs_batch and threshold.gamma is None
    counts = []
    for _ in range(6):
        counts.append(int(threshold.decide(torch.rand(20)).sum()))
        threshold.step(tensor([]))
    assert counts == [0, 5, 10, 15, 20, 20]


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: FixedThreshold(-0.1), "gamma"),
        (lambda: FixedThreshold(math.nan), "gamma"),
        (lambda: FixedThreshold("1"), "gamma"),
        (lambda: DynamicThreshold(statistic="median"), "statistic"),
        (lambda: DynamicThreshold(statistic="quantile"), "quantile"),
        (lambda: DynamicThreshold(quantile=0.5), "quantile"),
        (lambda: DynamicThreshold(statistic="quantile", quantile=1.0), "quantile"),
        (lambda: DynamicThreshold(momentum=1.0), "momentum"),
        (lambda: TopKThreshold(), "k"),
        (lambda: TopKThreshold(k=1, ratio=0.5), "ratio"),
        (lambda: TopKThreshold(k=-1), "k"),
        (lambda: TopKThreshold(ratio=1.5), "ratio"),
        (lambda: TopKThreshold(k=1, per="word"), "per"),
        (lambda: TopKThreshold(k=1, scope="all"), "scope"),
        (lambda: TopKThreshold(k=1, per="sentence", scope="global"), "scope"),
        (lambda: ScheduleThreshold(1.0, 2.0, 0), "num_steps"),
        (lambda: ScheduleThreshold(-1.0, 2.0, 5), "start"),
        (lambda: ScheduleThreshold(0.0, 2.0, 5, quantity="ratio"), "end"),
        (lambda: ScheduleThreshold(0.0, 2.0, 5, shape="exponential"), "start"),
        (lambda: ScheduleThreshold(1.0, 2.0, 5, shape="cosin"), "shape"),
        (lambda: ScheduleThreshold(1.0, 2.0, 5, quantity="share"), "quantity"),
        (lambda: Schedule(1.0, math.inf, 5), "end"),
    ],
)
def test_settings_out_of_their_range_are_refused_by_key(make, key):
    with pytest.raises(ConfigError) as error:
        make()
    assert error.value.key == key


def test_two_ranks_have_the_gamma_of_one_even_where_one_has_no_targets(tmp_path):
    run_ranks(dynamic_on_ranks, tmp_path, 2)
    results = [tmp_path / f"{rank}.json" for rank in range(2)]
    outputs = [result.read_text() for result in results]
    assert outputs[0] == outputs[1]

    criterion = SelfEvolutionKD(
        threshold={"name": "dynamic", "config": {"statistic": "quantile", "quantile": 0.6}}
    )
    alone = []
    for step in range(4):
        torch.manual_seed(step)
        student, teacher = torch.randn(10, 8), torch.randn(10, 8)
        criterion(student, teacher, torch.randint(0, 8, (10,)))
        criterion.step()
        alone.append(criterion.threshold.gamma)
    assert json.loads(outputs[0]) == alone
