"""What each threshold accepts, what it is unless told otherwise, and what the base classes ask."""

import math

import pytest
import torch

from sekd_plugin import ConfigError, KnownGamma, Schedule, SelfEvolutionKD, Threshold
from sekd_plugin.kernels.fused import ChunkBytes
from sekd_plugin.thresholds import (
    DynamicThreshold,
    FixedThreshold,
    ScheduleThreshold,
    TargetRatioThreshold,
    TopKThreshold,
)
from sekd_plugin.thresholds.dynamic import sorted_quantile


def refused(key, kind, **settings):
    with pytest.raises(ConfigError) as error:
        kind(**settings)
    assert error.value.key == key


@pytest.mark.parametrize("quantile", [0.0, 1.0, -0.5, -0.01, 1.01, 1.5, math.nan])
def test_a_quantile_lies_strictly_between_none_and_all(quantile):
    refused("quantile", DynamicThreshold, statistic="quantile", quantile=quantile)
    assert DynamicThreshold("quantile", 1e-6).quantile == 1e-6
    assert DynamicThreshold("quantile", 1 - 1e-6).quantile == 1 - 1e-6


@pytest.mark.parametrize("kind", [DynamicThreshold, TargetRatioThreshold])
def test_momentum_keeps_less_than_all_of_the_old(kind):
    for momentum in (-0.5, -0.01, 1.0, 1.01, math.nan):
        refused("momentum", kind, momentum=momentum)
    assert kind(momentum=0.0).momentum == 0.0
    assert kind(momentum=0.999).momentum == 0.999


def test_names_that_were_read_from_a_file_are_names_too():
    mean, quantile = "".join(["me", "an"]), "".join(["quan", "tile"])
    refused("quantile", DynamicThreshold, statistic=mean, quantile=0.5)
    refused("quantile", DynamicThreshold, statistic=quantile)
    assert DynamicThreshold(quantile, 0.5).quantile == 0.5
    ratio, gamma = "".join(["ra", "tio"]), "".join(["gam", "ma"])
    assert ScheduleThreshold(0.1, 0.2, 3, quantity=ratio).needs_batch
    refused("end", ScheduleThreshold, start=0.1, end=1.5, num_steps=3, quantity=ratio)
    assert not ScheduleThreshold(0.1, 1.5, 3, quantity=gamma).needs_batch
    batch, sentence = "".join(["ba", "tch"]), "".join(["sen", "tence"])
    values, numbers = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0, 1, 1])
    whole = TopKThreshold(k=1, per=batch).decide_by_sentence(values, numbers)
    assert whole.tolist() == [False, False, True]
    each = TopKThreshold(k=1, per=sentence).decide_by_sentence(values, numbers)
    assert each.tolist() == [True, False, True]
    rank, of_all = "".join(["ra", "nk"]), "".join(["glo", "bal"])
    assert not TopKThreshold(k=1, scope=rank).decides_over_ranks
    assert TopKThreshold(k=1, per=batch, scope=of_all).decides_over_ranks
    assert not TopKThreshold(k=1, per=sentence, scope=rank).decides_over_ranks
    refused("scope", TopKThreshold, k=1, per=sentence, scope=of_all)
    shape = "".join(["st", "ep"])
    assert Schedule(math.inf, 1.0, 2, shape)(1) == math.inf
    exponential = "".join(["expo", "nential"])
    refused("end", Schedule, start=1.0, end=0.0, num_steps=2, shape=exponential)


def test_a_scheduled_gamma_has_no_upper_end_and_a_ratio_ends_at_all():
    for key in ("start", "end"):
        for quantity, allowed, not_allowed in (
            ("gamma", (0.0, 1.5, 1e6), (-0.01, math.nan)),
            ("ratio", (0.0, 0.5, 1.0), (-0.01, 1.01, 2.0)),
        ):
            other = {"start": 0.5, "end": 0.5, "num_steps": 2, "quantity": quantity}
            for value in allowed:
                assert getattr(ScheduleThreshold(**{**other, key: value}).schedule, key) == value
            for value in not_allowed:
                refused(key, ScheduleThreshold, **{**other, key: value})


def test_the_defaults_are_those_that_are_documented():
    dynamic = DynamicThreshold()
    assert (dynamic.statistic, dynamic.quantile, dynamic.momentum) == ("mean", None, 0.9)
    scheduled = ScheduleThreshold(2.0, 1.0, 4)
    assert (scheduled.quantity, scheduled.schedule.shape) == ("gamma", "linear")
    target = TargetRatioThreshold()
    assert (target.ratio, target.momentum) == (0.3, 0.5)
    top = TopKThreshold(k=1)
    assert (top.per, top.scope, top.decides_over_ranks) == ("batch", "rank", False)
    assert Schedule(1.0, 0.0, 2).shape == "linear"


def test_a_fixed_gamma_is_any_number_from_zero_on():
    assert FixedThreshold(0.0).gamma == 0.0
    assert FixedThreshold(math.inf).gamma == math.inf
    refused("gamma", FixedThreshold, gamma=-1e-9)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("quantile", [0.0, 0.3, 0.5, 0.99, 1.0])
def test_a_quantile_reaches_from_the_least_to_the_greatest(count, quantile):
    values = torch.arange(count, dtype=torch.float64) ** 2
    expected = torch.quantile(values, quantile)
    assert sorted_quantile(values, quantile) == pytest.approx(float(expected), abs=1e-12)


def test_a_threshold_must_say_which_tokens_are_hard_or_what_gamma_is():
    class Silent(Threshold):
        pass

    class WithoutGamma(KnownGamma):
        pass

    with pytest.raises(TypeError, match="decide"):
        Silent()
    with pytest.raises(TypeError, match="gamma"):
        WithoutGamma()


def test_unless_it_says_otherwise_a_threshold_sees_the_whole_batch_first():
    class AboveTheMean(Threshold):
        def decide(self, difficulty):
            return difficulty > difficulty.mean()

    class One(KnownGamma):
        asked: list

        @property
        def gamma(self):
            return 1.0

        def decide(self, difficulty):
            self.asked.append(difficulty.numel())
            return super().decide(difficulty)

    torch.manual_seed(0)
    student, teacher = torch.randn(20, 5), torch.randn(20, 5)
    targets = torch.randint(0, 5, (20,))
    criterion = SelfEvolutionKD(threshold=AboveTheMean())
    criterion.chunk_bytes = ChunkBytes(cache_bytes=4 * 5 * 3, logits_bytes=4 * 5 * 3)
    output = criterion(student, teacher, targets)
    assert not AboveTheMean().decides_over_ranks
    assert AboveTheMean().needs_batch and AboveTheMean().gamma is None
    assert torch.equal(output.hard, output.difficulty > output.difficulty.mean())
    assert AboveTheMean().state_dict() == {}

    known = One()
    known.asked = []
    criterion = SelfEvolutionKD(threshold=known)
    criterion.chunk_bytes = ChunkBytes(cache_bytes=4 * 5 * 3, logits_bytes=4 * 5 * 3)
    output = criterion(student, teacher, targets)
    assert not known.needs_batch and len(known.asked) > 1  # one pass, a chunk at a time
    assert torch.equal(output.hard, output.difficulty > 1.0)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ScheduleThreshold(2.0, 1.0, 4),
        lambda: TargetRatioThreshold({"start": 0.9, "end": 0.1, "num_steps": 4}),
    ],
)
def test_a_state_without_a_step_is_the_beginning(make):
    threshold, new = make(), make()
    for _ in range(3):
        threshold.step(torch.tensor([1.0, 2.0, 3.0]))
    state = {**new.state_dict(), "num_steps": None}
    if "trim" in state:
        state["trim"] = None
    threshold.load_state_dict(state)
    assert threshold.state_dict() == new.state_dict()
    for step in range(6):
        assert threshold.gamma == new.gamma
        for each in (threshold, new):
            each.step(torch.arange(10.0) + step)


def test_a_schedule_takes_as_many_steps_as_it_is_told():
    for count in (0, -1):
        refused("num_steps", Schedule, start=1.0, end=0.0, num_steps=count)
    assert [Schedule(1.0, 0.0, 1)(step) for step in (0, 1, 2)] == [1.0, 0.0, 0.0]
    assert [Schedule(1.0, 0.0, 2)(step) for step in (0, 1, 2)] == [1.0, 0.5, 0.0]


@pytest.mark.parametrize("shape", ["linear", "cosine", "exponential", "step"])
def test_the_ends_of_a_schedule_are_numbers_and_above_zero_where_they_must_be(shape):
    for end in ("start", "end"):
        settings = {"start": 1.0, "end": 1.0, "num_steps": 2, "shape": shape}
        refused(end, Schedule, **{**settings, end: math.nan})
        if shape == "step":
            assert getattr(Schedule(**{**settings, end: math.inf}), end) == math.inf
        else:
            refused(end, Schedule, **{**settings, end: math.inf})
        for value in (0.0, -1.0):
            if shape == "exponential":
                refused(end, Schedule, **{**settings, end: value})
            else:
                assert getattr(Schedule(**{**settings, end: value}), end) == value
    assert Schedule(1e-6, 1.0, 2, "exponential")(1) == pytest.approx(1e-3)


@pytest.mark.parametrize("low_end", [0.2, 0.8])
def test_a_cosine_is_half_way_in_the_middle_and_slow_at_both_ends(low_end):
    curve = Schedule(low_end, 1.0 - low_end, 100, "cosine")
    assert curve(50) == pytest.approx(0.5)
    first, middle = curve(1) - curve(0), curve(51) - curve(50)
    assert abs(first) < abs(middle) / 30
    assert curve(25) + curve(75) == pytest.approx(1.0)


def test_only_what_learns_from_a_step_has_its_difficulties_kept():
    torch.manual_seed(0)
    batch = torch.randn(6, 4), torch.randn(6, 4), torch.randint(0, 4, (6,))
    for threshold, learns in (
        (FixedThreshold(1.0), False),
        (ScheduleThreshold(2.0, 1.0, 4), False),
        (TopKThreshold(k=2), False),
        (DynamicThreshold(), True),
        (TargetRatioThreshold(), True),
    ):
        criterion = SelfEvolutionKD(threshold=threshold)
        criterion(*batch)
        kept = criterion.state_dict()["_extra_state"]["observed"]
        assert kept.numel() == (6 if learns else 0), threshold
        criterion.step()
        assert criterion.state_dict()["_extra_state"]["observed"].numel() == 0


def test_a_number_or_a_share_of_tokens_is_given_and_not_both():
    for settings, key, words in (
        ({}, "k", "neither was"),
        ({"k": 1, "ratio": 0.5}, "ratio", "both were"),
        ({"k": 0, "ratio": 0.0}, "ratio", "both were"),
    ):
        with pytest.raises(ConfigError, match=words) as error:
            TopKThreshold(**settings)
        assert error.value.key == key


@pytest.mark.parametrize("n", [1, 5, 40, 3000])
def test_ties_go_to_the_earlier_position_however_many_there_are(n):
    values = torch.ones(n)
    values[::3] = 2.0
    for k in (0, 1, n // 2, n):
        hard = TopKThreshold(k=k).decide(values).tolist()
        ranking = sorted(range(n), key=lambda place: (-float(values[place]), place))
        assert hard == [place in set(ranking[:k]) for place in range(n)]
