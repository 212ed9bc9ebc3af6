"""The hard ratio is held at its target while difficulties drift, jump and scatter."""

import json
import math

import pytest
import torch

from sekd_plugin import ConfigError, Schedule, SelfEvolutionKD
from sekd_plugin.thresholds import TargetRatioThreshold

DISTRIBUTIONS = {
    "exponential": lambda u: -u.log(),
    "log-normal": lambda u: (2 * torch.special.ndtri(u)).exp(),
    "two humps": lambda u: torch.where(u < 0.6, 1e-3 * u, 5 + u),
}


def observed_ratios(threshold, difficulties):
    """The hard ratio of each step less the one that is wanted, in points."""
    errors = []
    for difficulty in difficulties:
        hard = threshold.decide(difficulty)
        errors.append(100 * (float(hard.float().mean()) - threshold.ratio))
        threshold.step(difficulty.sort().values)
    return torch.tensor(errors)


def stream(*, tokens=500, steps=500, drift=1 / 20, noise=0.0, kind="exponential", seed=0):
    """Difficulties whose scale drifts by a factor over all steps, and scatters step by step."""
    generator = torch.Generator().manual_seed(seed)
    for step in range(steps):
        uniform = torch.rand(tokens, generator=generator).clamp(1e-6, 1 - 1e-6)
        luck = math.exp(noise * float(torch.randn((), generator=generator)))
        yield DISTRIBUTIONS[kind](uniform) * drift ** (step / steps) * luck


def windows(errors, width=50, after=10):
    """Means over every window of steps, once the start is over."""
    return errors[after:].unfold(0, width, 1).mean(-1)


@pytest.mark.parametrize("ratio", [0.05, 0.3, 0.7, 0.95])
@pytest.mark.parametrize("drift", [1 / 20, 1.0, 20.0])
@pytest.mark.parametrize("kind", sorted(DISTRIBUTIONS))
def test_the_ratio_is_held_within_two_points_while_difficulties_drift(ratio, drift, kind):
    errors = observed_ratios(TargetRatioThreshold(ratio), stream(drift=drift, kind=kind))
    # A step of 500 tokens scatters by sqrt(r·(1 − r) / 500), which no Γ known before it can help.
    assert windows(errors).abs().max() < 2.0
    assert errors[10:].mean().abs() < 0.25
    luck = 100 * math.sqrt(ratio * (1 - ratio) / 500)
    assert errors[10:].std() < 1.35 * luck + 0.5


@pytest.mark.parametrize("drift", [1 / 20, 20.0])
def test_with_large_steps_every_single_one_is_within_two_points(drift):
    errors = observed_ratios(TargetRatioThreshold(0.3), stream(tokens=20_000, drift=drift))
    assert errors[2:].abs().max() < 2.0


@pytest.mark.parametrize("seed", range(3))
def test_steps_whose_scale_scatters_average_to_the_ratio(seed):
    errors = observed_ratios(TargetRatioThreshold(0.3), stream(noise=0.2, seed=seed))
    assert windows(errors).abs().max() < 2.0
    assert errors[10:].mean().abs() < 0.25


@pytest.mark.parametrize(
    "schedule",
    [
        {"start": 0.0, "end": 0.5, "num_steps": 100},
        {"start": 1.0, "end": 0.1, "num_steps": 200, "shape": "cosine"},
        {"start": 0.02, "end": 0.6, "num_steps": 100, "shape": "step"},
        {"start": 0.5, "end": 0.05, "num_steps": 400, "shape": "exponential"},
    ],
)
def test_the_ratio_follows_its_schedule_on_a_drifting_stream(schedule):
    threshold = TargetRatioThreshold(schedule)
    follows = Schedule(**schedule)
    wanted = []
    errors = []
    for step, difficulty in enumerate(stream(tokens=2000)):
        wanted.append(follows(step))
        assert threshold.ratio == wanted[-1]
        errors += [100 * (float(threshold.decide(difficulty).float().mean()) - wanted[-1])]
        threshold.step(difficulty.sort().values)
    assert windows(torch.tensor(errors), width=10, after=2).abs().max() < 2.0
    assert wanted[0] == schedule["start"] and wanted[-1] == schedule["end"]


def test_a_jump_in_difficulty_is_made_up_for_in_a_few_steps():
    torch.manual_seed(0)
    threshold = TargetRatioThreshold(0.3)
    for scale in (1.0, 1e-3, 1e3):
        errors = observed_ratios(
            threshold, (scale * torch.rand(5000).log().neg() for _ in range(60))
        )
        assert errors[10:].abs().max() < 4.0
        assert windows(errors, width=20, after=20).abs().max() < 2.0


def test_until_a_step_with_targets_is_finished_every_token_is_easy():
    threshold = TargetRatioThreshold(0.5)
    assert threshold.gamma == math.inf and not threshold.needs_batch
    threshold.step(torch.zeros(0))
    assert threshold.gamma == math.inf
    assert not threshold.decide(torch.tensor([1.0, 1e30, math.inf])).any()
    threshold.step(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    assert threshold.gamma == 2.5
    assert threshold.decide(torch.tensor([2.5, 2.6])).tolist() == [False, True]


def test_a_step_without_targets_leaves_gamma_and_moves_the_schedule():
    threshold = TargetRatioThreshold({"start": 0.2, "end": 0.6, "num_steps": 4})
    threshold.step(torch.rand(100).sort().values)
    gamma, ratio = threshold.gamma, threshold.ratio
    threshold.step(torch.zeros(0))
    assert threshold.gamma == gamma
    assert threshold.ratio == pytest.approx(ratio + 0.1)


def test_infinite_difficulties_are_the_hardest_and_gamma_stays_finite():
    torch.manual_seed(0)
    threshold = TargetRatioThreshold(0.3)

    def steps():
        for _ in range(200):
            difficulty = torch.rand(500)
            difficulty[:60] = math.inf
            yield difficulty[torch.randperm(500)]

    errors = observed_ratios(threshold, steps())
    assert math.isfinite(threshold.gamma)
    assert windows(errors).abs().max() < 2.0
    gamma = threshold.gamma
    threshold.step(torch.full((10,), math.inf))
    assert threshold.gamma == gamma


def test_more_infinite_difficulties_than_the_ratio_are_all_hard_and_no_other():
    threshold = TargetRatioThreshold(0.3)
    difficulty = torch.cat([torch.linspace(0, 1, 50), torch.full((50,), math.inf)])
    for _ in range(5):
        threshold.step(difficulty)
        assert threshold.decide(difficulty).tolist() == torch.isinf(difficulty).tolist()


@pytest.mark.parametrize("ratio", [0, 1])
def test_no_token_or_every_token_is_met_exactly(ratio):
    threshold = TargetRatioThreshold(float(ratio))
    threshold.step(torch.rand(50).sort().values)
    for difficulty in (torch.tensor([0.0, 1e-9, 5.0, 1e9]), torch.rand(1000)):
        assert float(threshold.decide(difficulty).float().mean()) == ratio


def test_a_tiny_step_among_large_ones_does_not_throw_the_ratio_off():
    torch.manual_seed(0)
    threshold = TargetRatioThreshold(0.3)
    errors = []
    for step in range(400):
        difficulty = torch.rand(1 if step % 40 == 39 else 500).log().neg()
        if difficulty.numel() > 1:
            errors.append(100 * (float(threshold.decide(difficulty).float().mean()) - 0.3))
        threshold.step(difficulty.sort().values)
    assert windows(torch.tensor(errors)).abs().max() < 2.0


def test_a_ratio_out_of_reach_does_not_pile_up():
    threshold = TargetRatioThreshold(0.3)
    for _ in range(500):  # nine of ten difficulties are equal: 0.1 or 1 are possible, 0.3 is not
        threshold.step(torch.cat([torch.zeros(900), torch.rand(100).sort().values]))
    torch.manual_seed(0)
    errors = observed_ratios(threshold, (torch.rand(2000) for _ in range(60)))
    assert windows(errors, width=20, after=20).abs().max() < 2.0


def test_only_the_order_of_difficulties_counts():
    torch.manual_seed(0)
    plain, cubed = TargetRatioThreshold(0.4), TargetRatioThreshold(0.4)
    for _ in range(30):
        difficulty = 1.0 + torch.rand(4000, dtype=torch.float64)
        hard = plain.decide(difficulty), cubed.decide(difficulty**3)
        assert (hard[0] != hard[1]).sum() <= 2  # Γ is on a line between two values
        plain.step(difficulty.sort().values)
        cubed.step((difficulty**3).sort().values)


def test_its_state_survives_a_file_and_goes_on_to_the_last_bit(tmp_path):
    schedule = {"start": 0.1, "end": 0.5, "num_steps": 40}
    uninterrupted, first = TargetRatioThreshold(schedule), TargetRatioThreshold(schedule)
    steps = list(stream(steps=40))
    observed_ratios(uninterrupted, steps[:20])
    observed_ratios(first, steps[:20])
    (tmp_path / "state").write_text(json.dumps(first.state_dict()))

    resumed = TargetRatioThreshold(schedule)
    resumed.load_state_dict(json.loads((tmp_path / "state").read_text()))
    assert resumed.gamma == first.gamma and resumed.ratio == first.ratio
    assert torch.equal(
        observed_ratios(resumed, steps[20:]), observed_ratios(uninterrupted, steps[20:])
    )
    assert resumed.state_dict() == uninterrupted.state_dict()


def test_a_new_one_restores_that_nothing_was_seen_yet():
    threshold = TargetRatioThreshold(0.3)
    threshold.step(torch.rand(10).sort().values)
    threshold.load_state_dict(TargetRatioThreshold(0.3).state_dict())
    assert threshold.gamma == math.inf


def test_in_the_criterion_the_cut_of_a_step_changes_nothing_and_the_ratio_is_held():
    threshold = {"name": "target_ratio", "config": {"ratio": 0.25}}
    whole, cut = (SelfEvolutionKD(threshold=threshold) for _ in range(2))
    shares = []
    for step in range(60):
        torch.manual_seed(step)
        student, teacher = torch.randn(600, 9), torch.randn(600, 9)
        targets = torch.randint(0, 9, (600,))
        shares.append(float(whole(student, teacher, targets).hard.float().mean()))
        for rows in (slice(300, 600), slice(0, 10), slice(10, 300)):
            cut(student[rows], teacher[rows], targets[rows])
        whole.step()
        cut.step()
        assert whole.threshold.gamma == pytest.approx(cut.threshold.gamma, rel=1e-6)
    assert sum(shares[10:]) / 50 == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize(
    "threshold",
    [
        {"name": "top_k", "config": {"k": 4}},
        {"name": "top_k", "config": {"ratio": 0.5, "per": "sentence"}},
        {
            "name": "schedule",
            "config": {"start": 0.5, "end": 0.1, "num_steps": 5, "quantity": "ratio"},
        },
    ],
)
def test_a_gamma_that_the_batch_implies_is_reported(threshold):
    torch.manual_seed(0)
    criterion = SelfEvolutionKD(threshold=threshold)
    output = criterion(torch.randn(1, 10, 6), torch.randn(1, 10, 6), torch.zeros(1, 10).long())
    assert criterion.threshold.gamma is None
    assert 0 < int(output.hard.sum()) < 10
    assert output.gamma == float(output.difficulty[~output.hard].max())
    assert torch.equal(output.hard, output.difficulty > output.gamma)


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"ratio": 1.1}, "ratio"),
        ({"ratio": -0.1}, "ratio"),
        ({"ratio": math.nan}, "ratio"),
        ({"ratio": "half"}, "ratio"),
        ({"ratio": {"start": 0.1, "end": 2.0, "num_steps": 5}}, "ratio.end"),
        ({"ratio": {"start": 0.1, "end": 0.2}}, "ratio.num_steps"),
        ({"momentum": 1.0}, "momentum"),
        ({"momentum": -0.1}, "momentum"),
    ],
)
def test_a_setting_out_of_its_range_is_refused_by_key(settings, key):
    with pytest.raises(ConfigError) as error:
        TargetRatioThreshold(**settings)
    assert error.value.key == key
