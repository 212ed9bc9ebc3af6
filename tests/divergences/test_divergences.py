"""Each divergence against its definition: values, gradients, limits, and the rows that break."""

import math

import pytest
import torch
from divergence_definitions import DEFINITIONS, NOT_ABOVE, ONE_OF_EACH, kl, name_of, title_of
from method_definition import finite_difference

from sekd_plugin import ConfigError, Divergence, divergences
from sekd_plugin.divergences import (
    AdaptiveKL,
    Alpha,
    ForwardKL,
    Hellinger,
    Renyi,
    ReverseKL,
    SkewForwardKL,
    SkewReverseKL,
    SymmetricKL,
)
from sekd_plugin.errors import ComponentError

INF = math.inf
every = pytest.mark.parametrize(
    ("section", "definition"), DEFINITIONS, ids=[title_of(section) for section, _ in DEFINITIONS]
)


def rows(count=12, words=7, spread=2.0, seed=0, dtype=torch.float64):
    torch.manual_seed(seed)
    target, student = (torch.randn(count, words, dtype=torch.float64) * spread for _ in range(2))
    return target.log_softmax(-1).to(dtype), student.to(dtype)


def create(section):
    return divergences.create(section, "divergence")


def defined(definition, log_target, log_student):
    pairs = zip(log_target.double().exp(), log_student.double().exp(), strict=True)
    return torch.stack([definition(target, student) for target, student in pairs])


def value_and_gradient(divergence, log_target, logits):
    leaf = logits.clone().requires_grad_()
    value = divergence(log_target, leaf.log_softmax(-1))
    (gradient,) = torch.autograd.grad(value.sum(), leaf)
    return value.detach(), gradient


def test_every_divergence_has_a_definition_here():
    ours = {
        name
        for name in divergences.names()
        if divergences.get(name).__module__.startswith("sekd_plugin.divergences.")
    }
    assert {name_of(section) for section, _ in DEFINITIONS} == ours
    assert sorted(name_of(section) for section, _ in ONE_OF_EACH) == sorted(ours)


@every
@pytest.mark.parametrize("words", [1, 2, 7, 60])
def test_the_value_and_the_gradient_are_those_of_the_definition(section, definition, words):
    log_target, logits = rows(words=words)
    value, gradient = value_and_gradient(create(section), log_target, logits)

    leaf = logits.clone().requires_grad_()
    expected = defined(definition, log_target, leaf.log_softmax(-1))
    (slope,) = torch.autograd.grad(expected.sum(), leaf)
    torch.testing.assert_close(value, expected.detach(), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(gradient, slope, rtol=1e-8, atol=1e-11)
    assert (value > -1e-13).all()


@every
def test_the_gradient_is_the_slope_of_the_value(section, definition):
    if name_of(section) == "adaptive_kl":
        pytest.skip("its shares are constants to the gradient: see the test of those")
    divergence = create(section)
    log_target, logits = rows(count=3, words=5, seed=3)
    leaf = logits.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda z: divergence(log_target, z.log_softmax(-1)), leaf)

    _, gradient = value_and_gradient(divergence, log_target, logits)
    slope = finite_difference(
        lambda z: defined(definition, log_target, z.log_softmax(-1)).sum(), logits.clone()
    )
    torch.testing.assert_close(gradient, slope, rtol=1e-5, atol=1e-7)


@every
def test_single_precision_gives_the_value_and_gradient_of_double(section, definition):
    log_target, logits = rows(words=500, spread=3.0, dtype=torch.float32)
    value, gradient = value_and_gradient(create(section), log_target, logits)
    wide = log_target.double().log_softmax(-1)
    exact, slope = value_and_gradient(create(section), wide, logits.double())
    assert value.dtype == torch.float32
    torch.testing.assert_close(value.double(), exact, rtol=5e-6, atol=2e-6)
    torch.testing.assert_close(gradient.double(), slope, rtol=1e-4, atol=2e-6)


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_at_equality_value_and_gradient_are_zero(section, definition, dtype):
    logits = torch.cat([rows(dtype=dtype)[1], torch.zeros(1, 7, dtype=dtype)])
    banned = logits.clone()
    banned[:, 2] = -INF
    for same in (logits, banned, logits * 1e4, torch.zeros(3, 1, dtype=dtype)):
        value, gradient = value_and_gradient(create(section), same.log_softmax(-1), same)
        tight = 1e-6 if dtype == torch.float32 else 1e-13
        assert (value.abs() <= tight).all(), value
        assert torch.isfinite(gradient).all()
        if name_of(section) != "total_variation":  # there any sign is a subgradient
            assert (gradient.abs() <= 10 * tight).all(), gradient


def test_total_variation_has_the_gradient_zero_where_the_rows_are_equal():
    log_target, _ = rows()
    leaf = log_target.clone().requires_grad_()
    divergences.create("total_variation", "divergence")(log_target, leaf).sum().backward()
    assert (leaf.grad == 0).all()


@every
def test_close_rows_are_told_apart_and_never_negative(section, definition):
    log_target, _ = rows(count=40, words=300, dtype=torch.float32)
    torch.manual_seed(5)
    for nearness in (1e-1, 1e-2, 1e-3, 1e-4, 1e-5):
        close = (log_target + nearness * torch.randn_like(log_target)).log_softmax(-1)
        value = create(section)(log_target, close)
        exact = create(section)(log_target.double().log_softmax(-1), close.double().log_softmax(-1))
        assert (value >= -1e-6).all()
        assert (exact >= 0).all()
        torch.testing.assert_close(value.double(), exact, rtol=2e-3, atol=1e-6)


EXTREME = torch.tensor(
    [
        [0.0, -INF, -INF, -INF],
        [-INF, 0.0, 1.0, -INF],
        [1e4, -1e4, 0.0, 3.0],
        [-1e4, 1e4, 1e4, -1e4],
        [0.0, 200.0, 0.0, -200.0],
        [1e-30, 0.0, -1e-30, 50.0],
        [0.0, 0.0, 0.0, 0.0],
    ],
    dtype=torch.float64,
)


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extreme_rows_give_no_nan_and_are_finite_where_the_mathematics_is(
    section, definition, dtype
):
    divergence = create(section)
    for first in EXTREME.to(dtype):
        for second in EXTREME.to(dtype):
            target, student = first.log_softmax(-1), second.log_softmax(-1)
            value = divergence(target[None], student[None])
            assert not value.isnan().any() and (value >= -1e-6).all()
            misses = (torch.isfinite(target) & torch.isneginf(student)).any()
            invents = (torch.isneginf(target) & torch.isfinite(student)).any()
            if not misses and not (divergence.infinite_on_zero_target and invents):
                assert torch.isfinite(value).all(), (first, second, value)
            if torch.isfinite(value).all():
                _, gradient = value_and_gradient(divergence, target[None], second[None])
                assert torch.isfinite(gradient).all(), (first, second, gradient)
                assert gradient.sum().abs() < 1e-3


@every
def test_rows_with_impossible_words_have_the_value_of_the_definition(section, definition):
    divergence = create(section)
    torch.manual_seed(1)
    target, student = (torch.randn(20, 5, dtype=torch.float64) for _ in range(2))
    target[torch.rand(20, 5) < 0.3] = -INF
    target[:, 0] = 0.0
    student[torch.isneginf(target) & (torch.rand(20, 5) < 0.5)] = -INF
    student[torch.rand(20, 5) < 0.1] = -INF
    student[:, 0] = 0.3
    expected = defined(definition, target.log_softmax(-1), student.log_softmax(-1))
    value = divergence(target.log_softmax(-1), student.log_softmax(-1))
    assert torch.isinf(expected).any() or name_of(section) in {*NOT_ABOVE, "renyi"}
    torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-12)


@every
def test_against_the_gold_word_alone_only_what_says_so_is_infinite(section, definition):
    divergence = create(section)
    log_target = torch.tensor([[0.0, -INF, -INF]])
    value = divergence(log_target, torch.tensor([[0.2, 0.5, 0.3]]).log())
    assert bool(torch.isinf(value).all()) == divergence.infinite_on_zero_target
    assert divergence.infinite_on_zero_target == (
        name_of(section) in {"reverse_kl", "symmetric_kl", "adaptive_kl"}
    )


@pytest.mark.parametrize(
    ("section", "definition"), ONE_OF_EACH, ids=[name_of(section) for section, _ in ONE_OF_EACH]
)
def test_a_bound_is_reached_where_the_two_have_nothing_in_common_and_not_passed(
    section, definition
):
    apart = torch.tensor([[0.0, -INF]]), torch.tensor([[-INF, 0.0]])
    bound = NOT_ABOVE.get(name_of(section), INF)
    assert float(create(section)(*apart)) == pytest.approx(bound)
    log_target, logits = rows(count=200, spread=8.0)
    assert (create(section)(log_target, logits.log_softmax(-1)) <= bound).all()


@pytest.mark.parametrize(
    ("near", "limit"),
    [
        (lambda s: Alpha(1 - s), ForwardKL()),
        (lambda s: Alpha(s), ReverseKL()),
        (lambda s: Renyi(1 - s), ForwardKL()),
        (lambda s: Renyi(1 + s), ForwardKL()),
        (lambda s: SkewForwardKL(s), ForwardKL()),
        (lambda s: SkewReverseKL(s), ReverseKL()),
        (lambda s: SymmetricKL(1 - s), ForwardKL()),
        (lambda s: SymmetricKL(s), ReverseKL()),
    ],
    ids=["alpha_1", "alpha_0", "renyi_below", "renyi_above", "skf", "skr", "sym_1", "sym_0"],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_near_a_limit_value_and_gradient_are_the_limits(near, limit, dtype):
    log_target, logits = rows(words=40, spread=1.0, dtype=dtype)
    expected, slope = value_and_gradient(limit, log_target, logits)
    errors = []
    for distance in (1e-3, 1e-5, 1e-7, 1e-9):
        value, gradient = value_and_gradient(near(distance), log_target, logits)
        room = 60 * distance + (5e-6 if dtype == torch.float32 else 1e-12)
        torch.testing.assert_close(value, expected, rtol=room, atol=room)
        torch.testing.assert_close(gradient, slope, rtol=room, atol=room)
        errors.append(float((value - expected).abs().max()))
    if dtype == torch.float64:
        assert errors[0] > 50 * errors[1] > 2500 * errors[2]  # in proportion to the distance


def test_renyi_grows_with_its_order_towards_the_greatest_ratio():
    log_target, logits = rows(spread=1.0)
    log_student = logits.log_softmax(-1)
    orders = [0.01, 0.3, 0.7, 0.999, 1.001, 2.0, 10.0, 1e3, 1e6]
    values = torch.stack([Renyi(order)(log_target, log_student) for order in orders])
    assert (values.diff(dim=0) > 0).all()
    greatest = (log_target - log_student).amax(-1)
    torch.testing.assert_close(values[-1], greatest, rtol=1e-4, atol=1e-4)


def test_the_two_forms_of_renyi_meet_where_one_gives_way_to_the_other():
    log_target, direction = rows(count=1, words=6)
    steps = torch.linspace(0.0, 2.0, 400, dtype=torch.float64)[:, None]
    log_student = (log_target + steps * direction).log_softmax(-1)
    for order in (0.3, 0.7, 1.4, 3.0):
        value = Renyi(order)(log_target.expand(400, -1), log_student)
        expected = ((order * log_target + (1 - order) * log_student).logsumexp(-1)) / (order - 1)
        torch.testing.assert_close(value, expected, rtol=1e-10, atol=1e-13)


def test_alpha_hellinger_and_renyi_at_a_half_are_one_and_the_same():
    log_target, logits = rows()
    log_student = logits.log_softmax(-1)
    squared = Hellinger()(log_target, log_student)
    torch.testing.assert_close(Alpha(0.5)(log_target, log_student), 4 * squared)
    torch.testing.assert_close(1 - (-0.5 * Renyi(0.5)(log_target, log_student)).exp(), squared)
    torch.testing.assert_close(
        Alpha(0.2)(log_target, log_student), Alpha(0.8)(log_student, log_target)
    )


def test_adaptive_kl_gives_forward_kl_the_heads_share_and_reverse_kl_the_tails():
    target = torch.tensor([0.5, 0.3, 0.1, 0.1], dtype=torch.float64)
    student = torch.tensor([0.2, 0.4, 0.25, 0.15], dtype=torch.float64)
    forward, reverse = kl(target, student), kl(student, target)
    gaps = [0.3, 0.1, 0.15, 0.05]
    for mass, head in ((0.2, 1), (0.5, 1), (0.6, 2), (0.8, 2), (0.85, 4), (0.95, 4)):
        share = sum(gaps[:head]) / sum(gaps)  # the last two words are equally probable
        value = AdaptiveKL(mass)(target.log()[None], student.log()[None])
        assert float(value) == pytest.approx(share * forward + (1 - share) * reverse)


def test_adaptive_kls_shares_are_constants_to_the_gradient():
    log_target, logits = rows(count=1)
    value, gradient = value_and_gradient(AdaptiveKL(), log_target, logits)
    forward, forward_slope = value_and_gradient(ForwardKL(), log_target, logits)
    reverse, reverse_slope = value_and_gradient(ReverseKL(), log_target, logits)
    share = (value - reverse) / (forward - reverse)
    torch.testing.assert_close(gradient, share * forward_slope + (1 - share) * reverse_slope)


def test_adaptive_kl_is_finite_where_the_head_fits_and_only_forward_kl_is_not():
    target = torch.tensor([[0.6, 0.2, 0.2]]).log()
    student = torch.tensor([[0.6, 0.0, 0.4]]).log()
    assert float(AdaptiveKL()(target, student)) == pytest.approx(0.4 * math.log(2))


def test_rounding_does_not_move_the_gold_word_out_of_a_head_of_one_half():
    torch.manual_seed(0)
    teacher = (torch.randn(200, 50) * 3 - 60 * torch.eye(50)[0]).log_softmax(-1)
    from sekd_plugin.distributions import log_self_target

    gold = torch.zeros(200, dtype=torch.int64)
    student = torch.randn(200, 50).log_softmax(-1)
    single = AdaptiveKL()(log_self_target(teacher, gold, 0.5), student)
    double = AdaptiveKL()(log_self_target(teacher.double(), gold, 0.5), student.double())
    torch.testing.assert_close(single.double(), double, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("section", "words"),
    [
        (("skew_forward_kl", {"skew": 0.0}), ["config.skew: 0 ", "'forward_kl'"]),
        (("skew_forward_kl", {"skew": 1.0}), ["config.skew: 1 ", "0 < skew < 1"]),
        (("skew_forward_kl", {"skew": -0.1}), ["config.skew: -0.1", "0 < skew < 1"]),
        (("skew_forward_kl", {"skew": 1.5}), ["config.skew: 1.5", "0 < skew < 1"]),
        (("skew_reverse_kl", {"skew": 0}), ["config.skew: 0 ", "'reverse_kl'"]),
        (("skew_reverse_kl", {"skew": math.nan}), ["config.skew: nan"]),
        (("symmetric_kl", {"forward_weight": 0.0}), ["config.forward_weight: 0", "'reverse_kl'"]),
        (("symmetric_kl", {"forward_weight": 1.0}), ["config.forward_weight: 1", "'forward_kl'"]),
        (("symmetric_kl", {"forward_weight": 1.5}), ["config.forward_weight: 1.5"]),
        (("alpha", {"alpha": 0.0}), ["config.alpha: 0 ", "'reverse_kl'"]),
        (("alpha", {"alpha": 1}), ["config.alpha: 1 ", "'forward_kl'"]),
        (("alpha", {"alpha": 1.2}), ["config.alpha: 1.2", "0 < alpha < 1"]),
        (("renyi", {"order": 1.0}), ["config.order: 1 ", "'forward_kl'"]),
        (("renyi", {"order": 0.0}), ["config.order: 0", "0 < order"]),
        (("renyi", {"order": math.inf}), ["config.order: inf"]),
        (("adaptive_kl", {"head_mass": 1.0}), ["config.head_mass: 1", "0 < head_mass < 1"]),
        (("adaptive_kl", {"head_mass": 0.0}), ["config.head_mass: 0"]),
        (("total_variation", {"skew": 0.5}), ["config.skew: is not a setting", "known: none"]),
        (("hellinger", {"squared": True}), ["config.squared: is not a setting"]),
    ],
)
def test_a_setting_out_of_its_range_is_refused_with_a_pointer(section, words):
    name, config = section
    with pytest.raises(ConfigError) as error:
        divergences.create({"name": name, "config": config}, "divergence")
    for word in words:
        assert word in str(error.value)


def test_an_adaptive_head_of_rows_that_fall_short_of_their_mass_is_the_whole_row():
    logits = torch.tensor([[3.0, 2.0, 1.0, 0.0]])
    log_target = logits.log_softmax(-1) - 1e-4  # as a teacher in half precision may sum
    log_student = torch.zeros(1, 4).log_softmax(-1)
    short = AdaptiveKL(head_mass=0.99999)(log_target, log_student)
    torch.testing.assert_close(short, ForwardKL()(log_target, log_student))


@every
@pytest.mark.parametrize("words", [1, 5])
def test_any_leading_dimensions_give_each_row_its_number(section, definition, words):
    log_target, logits = rows(count=12, words=words)
    log_student = logits.log_softmax(-1)
    flat = create(section)(log_target, log_student)
    shape = (2, 3, 2, words)
    shaped = create(section)(log_target.reshape(shape), log_student.reshape(shape))
    torch.testing.assert_close(shaped, flat.reshape(2, 3, 2), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("name", "defaults"),
    [
        ("jensen_shannon", {"beta": 0.5}),
        ("skew_forward_kl", {"skew": 0.1}),
        ("skew_reverse_kl", {"skew": 0.1}),
        ("symmetric_kl", {"forward_weight": 0.5}),
        ("alpha", {"alpha": 0.5}),
        ("renyi", {"order": 0.5}),
        ("adaptive_kl", {"head_mass": 0.5}),
    ],
)
def test_the_defaults_are_those_that_are_documented(name, defaults):
    log_target, logits = rows()
    log_student = logits.log_softmax(-1)
    assert vars(create(name)) == defaults
    named = create({"name": name, "config": defaults})
    assert torch.equal(create(name)(log_target, log_student), named(log_target, log_student))


ENDS = [
    ("jensen_shannon", "beta", 0.0, 1.0),
    ("skew_forward_kl", "skew", 0.0, 1.0),
    ("skew_reverse_kl", "skew", 0.0, 1.0),
    ("symmetric_kl", "forward_weight", 0.0, 1.0),
    ("alpha", "alpha", 0.0, 1.0),
    ("renyi", "order", 0.0, INF),
    ("adaptive_kl", "head_mass", 0.0, 1.0),
]


@pytest.mark.parametrize(("name", "key", "low", "high"), ENDS)
def test_the_range_of_a_setting_is_open_at_both_ends(name, key, low, high):
    for inside in (low + 1e-6, min(high, 10.0) - 1e-6):
        assert getattr(create({"name": name, "config": {key: inside}}), key) == inside
    for outside in (low, low - 1e-6, -0.5, -1.0, high, high + 1e-6, high + 0.5):
        with pytest.raises(ConfigError) as error:
            create({"name": name, "config": {key: outside}})
        assert error.value.key == f"divergence.config.{key}"


@pytest.mark.parametrize(
    ("name", "key", "value", "limit"),
    [
        ("jensen_shannon", "beta", 0.0, "reverse_kl"),
        ("jensen_shannon", "beta", 1.0, "forward_kl"),
        ("skew_forward_kl", "skew", 0.0, "forward_kl"),
        ("skew_reverse_kl", "skew", 0.0, "reverse_kl"),
        ("symmetric_kl", "forward_weight", 0.0, "reverse_kl"),
        ("symmetric_kl", "forward_weight", 1.0, "forward_kl"),
        ("alpha", "alpha", 0.0, "reverse_kl"),
        ("alpha", "alpha", 1.0, "forward_kl"),
        ("renyi", "order", 1.0, "forward_kl"),
    ],
)
def test_at_the_end_of_a_range_the_limits_name_is_given(name, key, value, limit):
    with pytest.raises(ConfigError, match=f"'{limit}'"):
        create({"name": name, "config": {key: value}})


def test_a_divergence_without_a_formula_cannot_be_made():
    class Empty(Divergence):
        pass

    with pytest.raises(TypeError, match="forward"):
        Empty()
    assert not Divergence.infinite_on_zero_target


def test_a_head_that_misses_its_mass_by_rounding_alone_is_not_widened_by_a_word():
    target = torch.tensor([[0.5 - 1e-8, 0.3 + 1e-8, 0.2]], dtype=torch.float64)
    student = torch.tensor([[0.2, 0.2, 0.6]], dtype=torch.float64)
    # The gold word alone is the head: its share of the gaps 0.3, 0.1 and 0.4.
    share = 0.3 / 0.8
    forward, reverse = kl(target[0], student[0]), kl(student[0], target[0])
    found = AdaptiveKL(head_mass=0.5)(target.log(), student.log())
    assert float(found) == pytest.approx(float(share * forward + (1 - share) * reverse), rel=1e-6)
    wider = AdaptiveKL(head_mass=0.5 + 1e-4)(target.log(), student.log())
    share = 0.4 / 0.8
    assert float(wider) == pytest.approx(float(share * forward + (1 - share) * reverse), rel=1e-6)


class Shaped(Divergence):
    """Returns a shape of its own."""

    def __init__(self, shape):
        self.shape = shape

    def forward(self, log_target, log_student):
        return log_student.new_zeros(self.shape)


@pytest.mark.parametrize("shape", [(), (2,), (4,), (3, 5), (2, 3, 5), (3, 2)])
def test_another_shape_than_one_number_a_row_is_refused_with_both(shape):
    log_target = torch.zeros(2, 3, 5)
    with pytest.raises(ComponentError) as caught:
        Shaped(shape)(log_target, log_target)
    assert str(caught.value) == (
        f"Shaped returned the shape {shape} for rows (2, 3, 5); it must be one number a row, (2, 3)"
    )
    assert Shaped((2, 3))(log_target, log_target).shape == (2, 3)
