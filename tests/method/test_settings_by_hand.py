"""Each setting of the criterion by itself: what it accepts, and what it changes."""

import math

import pytest
import torch
from method_definition import method

from sekd_plugin import (
    ConfigError,
    Criterion,
    CrossEntropy,
    NonFiniteLogitsError,
    Proxy,
    Schedule,
    SelfEvolutionKD,
    Threshold,
    WordKD,
    criteria,
)
from sekd_plugin.kernels import fused
from sekd_plugin.kernels.projection import Projection
from sekd_plugin.kernels.row_kernel import DefinitionRows
from sekd_plugin.schedules import constant_or_schedule

ALL_HARD = {"name": "top_k", "config": {"ratio": 1.0}}


def batch(rows=5, words=6, seed=0):
    torch.manual_seed(seed)
    student, teacher = (torch.randn(rows, words, dtype=torch.float64) for _ in range(2))
    return student, teacher, torch.randint(0, words, (rows,))


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"teacher_weight": -0.01}, "teacher_weight"),
        ({"teacher_weight": 1.01}, "teacher_weight"),
        ({"teacher_weight": math.nan}, "teacher_weight"),
        ({"beta": -0.01}, "beta"),
        ({"beta": 1.01}, "beta"),
        ({"beta": Schedule(0.5, 1.01, 3)}, "beta.end"),
        ({"beta": Schedule(-0.01, 0.5, 3)}, "beta.start"),
        ({"temperature": 0.0}, "temperature"),
        ({"temperature": -1.0}, "temperature"),
        ({"temperature": math.inf}, "temperature"),
        ({"teacher_weight": 0.0, "divergence": "reverse_kl"}, "teacher_weight"),
        ({"teacher_weight": 0.0, "difficulty": "reverse_kl"}, "teacher_weight"),
        ({"beta": 0.0, "proxy": {"name": "linear", "config": {"rescale": True}}}, "beta"),
        (
            {
                "beta": Schedule(0.5, 0.0, 3),
                "proxy": {"name": "linear", "config": {"rescale": True}},
            },
            "beta",
        ),
        (
            {
                "beta": Schedule(0.0, 0.5, 3),
                "proxy": {"name": "linear", "config": {"rescale": True}},
            },
            "beta",
        ),
    ],
)
def test_what_cannot_be_used_is_refused_by_key(settings, key):
    with pytest.raises(ConfigError) as error:
        SelfEvolutionKD(**settings)
    assert error.value.key == key


@pytest.mark.parametrize(
    "settings",
    [
        {"teacher_weight": 0.0},
        {"teacher_weight": 1.0},
        {"teacher_weight": 0.001, "divergence": "reverse_kl"},
        {"beta": 0.0},
        {"beta": 1.0},
        {"beta": Schedule(0.0, 1.0, 3)},
        {"temperature": 1e-3},
        {"temperature": 1e3},
        {"beta": 0.001, "proxy": {"name": "linear", "config": {"rescale": True}}},
        {"beta": 0.0, "proxy": "linear"},
    ],
)
def test_the_ends_of_what_is_allowed_are_accepted(settings):
    output = SelfEvolutionKD(**settings)(*batch())
    assert output.loss.isfinite()


def test_settings_are_given_by_name():
    for kind in (SelfEvolutionKD, WordKD):
        with pytest.raises(TypeError):
            kind(0.5)


def test_a_teacher_is_needed_unless_it_has_no_share():
    assert SelfEvolutionKD(teacher_weight=0.001).needs_teacher
    assert not SelfEvolutionKD(teacher_weight=0.0).needs_teacher
    student, teacher, targets = batch()
    alone = SelfEvolutionKD(teacher_weight=0.0)(student, None, targets)
    beside = SelfEvolutionKD(teacher_weight=0.0)(student, teacher, targets)
    assert torch.equal(alone.token_loss, beside.token_loss)
    assert alone.agreement is None and beside.agreement is None


def test_the_defaults_are_the_papers_with_a_moving_gamma():
    student, teacher, targets = batch(rows=40)
    criterion = SelfEvolutionKD()
    criterion(student, teacher, targets)
    criterion.step()
    output = criterion(student, teacher, targets)
    difficulty, hard, losses = method(
        student, teacher, targets, teacher_weight=0.5, beta=0.5, gamma=criterion.threshold.gamma
    )
    assert criterion.threshold.gamma == pytest.approx(float(difficulty.mean()), rel=1e-6)
    assert torch.equal(output.hard, hard) and 0 < int(hard.sum()) < 40
    torch.testing.assert_close(output.token_loss, losses)


@pytest.mark.parametrize("kernel", ["reference", "chunked"])
@pytest.mark.parametrize("divergence", ["forward_kl", "reverse_kl"])
@pytest.mark.parametrize("temperature", [0.5, 3.0])
def test_rescale_and_the_squared_temperature_are_factors(kernel, divergence, temperature):
    def run(rescale, squared):
        criterion = SelfEvolutionKD(
            beta=0.25,
            temperature=temperature,
            divergence=divergence,
            threshold=ALL_HARD,
            proxy={"name": "linear", "config": {"rescale": rescale}},
            temperature_squared=squared,
        )
        criterion.kernel = kernel
        return criterion(*batch()).token_loss

    torch.testing.assert_close(run(True, False), 4.0 * run(False, False))
    torch.testing.assert_close(run(False, True), temperature**2 * run(False, False))


def redefining(name):
    def own(self, *args):
        return getattr(SelfEvolutionKD, name)(self, *args)

    return type("Own", (SelfEvolutionKD,), {name: own})


@pytest.mark.parametrize("name", ["distributions", "self_question", "self_evolution"])
def test_whoever_redefines_a_part_of_the_method_is_computed_by_its_definition(name):
    kernel = redefining(name)().row_kernel(torch.device("cpu"), None)
    assert type(kernel) is DefinitionRows


def test_beta_follows_its_schedule_in_the_loss_as_well():
    student, teacher, targets = batch()
    criterion = SelfEvolutionKD(beta=Schedule(0.8, 0.4, 2), threshold=ALL_HARD)
    for beta in (0.8, 0.6, 0.4, 0.4):
        assert criterion.beta == pytest.approx(beta)
        fixed = SelfEvolutionKD(beta=beta, threshold=ALL_HARD)
        torch.testing.assert_close(
            criterion(student, teacher, targets).token_loss,
            fixed(student, teacher, targets).token_loss,
        )
        criterion.step()


def test_cross_entropy_names_the_student_where_its_logits_are_not_finite():
    student, _, targets = batch()
    student[3, 1] = math.nan
    with pytest.raises(NonFiniteLogitsError) as error:
        CrossEntropy()(student, None, targets)
    assert error.value.model == "student" and error.value.rows == [3]


def test_a_row_whose_words_are_all_ruled_out_is_no_distribution():
    student, teacher, targets = batch()
    student[2] = -math.inf
    with pytest.raises(NonFiniteLogitsError) as error:
        SelfEvolutionKD()(student, teacher, targets)
    assert error.value.model == "student" and error.value.rows == [2]


@pytest.mark.parametrize("teacher_weight", [0.5, 0.0])
def test_a_difficulty_that_is_nan_on_finite_logits_is_the_divergences_fault(teacher_weight):
    class Undefined(type(SelfEvolutionKD().divergence)):
        def forward(self, log_target, log_student):
            return super().forward(log_target, log_student) * math.nan

    with pytest.raises(ValueError, match="returned NaN on finite logits"):
        SelfEvolutionKD(teacher_weight=teacher_weight, divergence=Undefined())(*batch())


def test_ranks_that_share_their_data_do_not_gather():
    criterion = SelfEvolutionKD()
    criterion.gather_over_ranks = False
    output = criterion(*batch())
    criterion.step()
    assert criterion.threshold.gamma == pytest.approx(float(output.difficulty.mean()), rel=1e-6)
    assert criterion.num_steps == 1


def test_word_kd_is_the_method_without_a_hard_token():
    student, teacher, targets = batch()
    settings = {"teacher_weight": 0.3, "temperature": 2.0, "divergence": "reverse_kl"}
    output = WordKD(**settings, temperature_squared=True)(student, teacher, targets)
    _, _, losses = method(
        student,
        teacher,
        targets,
        teacher_weight=0.3,
        beta=0.5,
        gamma=math.inf,
        temperature=2.0,
        divergence=lambda target, q: (q * (q / target).log()).sum(),
    )
    torch.testing.assert_close(output.token_loss, 4.0 * losses)
    assert not output.hard.any() and output.gamma == math.inf
    assert WordKD().teacher_weight == 0.5 and WordKD().temperature == 1.0


def test_a_schedule_and_a_constant_say_what_they_are():
    assert repr(constant_or_schedule("beta", 0.5, 0.0, 1.0)) == "Constant(0.5)"
    assert repr(Schedule(1.0, 0.5, 4, "cosine")) == "Schedule(1.0, 0.5, 4, shape='cosine')"


def test_the_baselines_are_made_from_a_recipe_like_the_method():
    word_kd = criteria.create(
        {"name": "word_kd", "config": {"divergence": {"name": "reverse_kl"}, "temperature": 2}},
        "criterion",
    )
    assert type(word_kd) is WordKD and not word_kd.temperature_squared
    assert type(word_kd.divergence) is type(SelfEvolutionKD(divergence="reverse_kl").divergence)
    ready = criteria.create(
        {"name": "word_kd", "config": {"divergence": word_kd.divergence}}, "criterion"
    )
    assert ready.divergence is word_kd.divergence
    assert type(criteria.create("cross_entropy", "criterion")) is CrossEntropy


@pytest.mark.parametrize("kernel", ["reference", "chunked"])
def test_cross_entropy_and_its_gradient_are_the_textbooks(kernel):
    student, _, targets = batch()
    leaf = student.clone().requires_grad_(True)
    criterion = CrossEntropy()
    criterion.kernel = kernel
    output = criterion(leaf, None, targets)
    (gradient,) = torch.autograd.grad(output.loss, leaf)
    probability = student.exp() / student.exp().sum(-1, keepdim=True)
    gold = probability[torch.arange(5), targets]
    torch.testing.assert_close(output.token_loss, -gold.log())
    torch.testing.assert_close(output.difficulty, -gold.log())
    expected = probability.clone()
    expected[torch.arange(5), targets] -= 1.0
    torch.testing.assert_close(gradient, expected)
    assert not output.difficulty.requires_grad and not output.hard.any()


def test_what_a_part_of_the_method_must_say_cannot_be_left_out():
    class Silent(Proxy):
        pass

    with pytest.raises(TypeError, match="forward"):
        Silent()
    parts = {
        name: getattr(SelfEvolutionKD, name)
        for name in ("distributions", "self_question", "self_evolution")
    }
    for missing in parts:
        rest = {name: part for name, part in parts.items() if name != missing}
        with pytest.raises(TypeError, match=missing):
            type("Partial", (Criterion,), rest)()
    assert Criterion.needs_teacher and Criterion.gather_over_ranks


@pytest.mark.parametrize("words", [3, 7])
def test_from_hidden_states_sizes_are_those_of_the_projections(words):
    torch.manual_seed(1)
    hidden, weight = torch.randn(5, 2).double(), torch.randn(words, 2).double()
    teacher_hidden, teacher_weight = torch.randn(5, 4).double(), torch.randn(words + 1, 4).double()
    bias, targets = torch.randn(words + 1).double(), torch.full((5,), words - 1)
    expected = SelfEvolutionKD()(
        hidden @ weight.T, teacher_hidden @ teacher_weight.T + bias, targets
    ).token_loss
    for kernel in ("reference", "chunked"):
        criterion = SelfEvolutionKD()
        criterion.kernel = kernel
        output = criterion.forward_linear(
            hidden, weight, teacher_hidden, teacher_weight, targets, teacher_bias=bias
        )
        torch.testing.assert_close(output.token_loss, expected)
        with pytest.raises(ValueError, match=f"outside the vocabulary of {words}"):
            criterion.forward_linear(
                hidden, weight, teacher_hidden, teacher_weight, targets + 1, teacher_bias=bias
            )
        with pytest.raises(ValueError, match="vocabulary"):
            criterion.forward_linear(
                hidden, weight, teacher_hidden, teacher_weight[: words - 1], targets
            )
        logits = teacher_hidden @ teacher_weight.T
        for both in ({"teacher_hidden": teacher_hidden}, {"teacher_weight": teacher_weight}):
            with pytest.raises(ValueError, match="not both"):
                criterion.forward_linear(
                    hidden, weight, targets=targets, teacher_logits=logits, **both
                )
            with pytest.raises(ValueError, match="the teacher is missing"):
                criterion.forward_linear(hidden, weight, targets=targets, **both)


def test_every_row_that_is_not_finite_is_named():
    for model in ("student", "teacher"):
        student, teacher, targets = batch()
        broken = {"student": student, "teacher": teacher}[model]
        broken[1, 0], broken[3, 2], broken[4, 5] = math.nan, math.inf, math.nan
        with pytest.raises(NonFiniteLogitsError) as error:
            SelfEvolutionKD()(student, teacher, targets)
        assert error.value.model == model and error.value.rows == [1, 3, 4]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda difficulty: (difficulty > 0.1)[1:],
        lambda difficulty: torch.cat([difficulty, difficulty]) > 0.1,
        lambda difficulty: (difficulty > 0.1).unsqueeze(-1),
        lambda difficulty: (difficulty > 0.1).long(),
    ],
)
@pytest.mark.parametrize("kernel", ["reference", "chunked"])
@pytest.mark.parametrize("needs_batch", [False, True])
def test_a_decision_that_is_not_one_bool_a_token_is_refused(wrong, kernel, needs_batch):
    class Odd(Threshold):
        def decide(self, difficulty):
            return wrong(difficulty)

    threshold = Odd()
    threshold.needs_batch = needs_batch
    criterion = SelfEvolutionKD(threshold=threshold)
    criterion.kernel = kernel
    with pytest.raises(ValueError, match=r"Odd\.decide returned .* must be bool of the shape"):
        criterion(*batch())


def test_a_state_goes_to_its_own_kind_of_threshold_alone():
    first, second = SelfEvolutionKD(), SelfEvolutionKD()
    first(*batch())
    first.step()
    second.load_state_dict(first.state_dict())
    assert second.threshold.gamma == first.threshold.gamma < math.inf
    other = SelfEvolutionKD(threshold=ALL_HARD)
    with pytest.raises(ConfigError, match="DynamicThreshold; here is a TopKThreshold"):
        other.load_state_dict(first.state_dict())
    with pytest.raises(ConfigError, match="TopKThreshold; here is a DynamicThreshold"):
        first.load_state_dict(other.state_dict())


@pytest.mark.parametrize("seen", [0, 1, 2])
def test_the_open_step_goes_on_after_loading_with_what_it_had_seen(seen):
    student, teacher, targets = batch()
    first, second = SelfEvolutionKD(), SelfEvolutionKD()
    first(student[:seen], teacher[:seen], targets[:seen])
    second.load_state_dict(first.state_dict())
    for criterion in (first, second):
        criterion(student[seen:4], teacher[seen:4], targets[seen:4])
        criterion.step()
    whole = SelfEvolutionKD()(student[:4], teacher[:4], targets[:4]).difficulty
    assert first.threshold.gamma == second.threshold.gamma
    assert second.threshold.gamma == pytest.approx(float(whole.mean()), rel=1e-6)


def test_a_vocabulary_is_the_last_dimension_however_few_the_rows():
    student, teacher, targets = batch(rows=1, words=6)
    output = SelfEvolutionKD()(student, torch.cat([teacher, teacher], -1), targets)
    torch.testing.assert_close(output.loss, SelfEvolutionKD()(student, teacher, targets).loss)


@pytest.mark.parametrize("threshold", ["dynamic", ALL_HARD])
@pytest.mark.parametrize(("kernel", "at_once"), [("reference", 5), ("chunked", 2), ("auto", 2)])
def test_logits_are_formed_all_at_once_by_the_reference_alone(
    kernel, at_once, threshold, monkeypatch
):
    formed = []
    logits = Projection.logits

    def counted(self, states, *more):
        formed.append(len(states))
        return logits(self, states, *more)

    monkeypatch.setattr(Projection, "logits", counted)
    student, teacher, targets = batch()
    criterion = SelfEvolutionKD(threshold=threshold)
    criterion.kernel = "".join(list(kernel))
    criterion.chunk_bytes = fused.ChunkBytes(logits_bytes=4 * 6 * 2, cache_bytes=4 * 6)
    criterion.forward_linear(
        student, torch.eye(6).double(), teacher, torch.eye(6).double(), targets
    )
    assert max(formed) == at_once


@pytest.mark.parametrize("kernel", ["reference", "chunked"])
@pytest.mark.parametrize("threshold", ["dynamic", ALL_HARD])
def test_a_batch_without_target_tokens_is_decided_on_too(kernel, threshold):
    student, teacher, targets = batch()
    criterion = SelfEvolutionKD(threshold=threshold)
    criterion.kernel = kernel
    output = criterion(student, teacher, targets, torch.zeros(5, dtype=torch.bool))
    assert output.num_targets == 0 and output.loss == 0.0 and output.hard.shape == (0,)
    assert output.gamma == math.inf


@pytest.mark.parametrize("beta", [0.1, 0.5, 0.9])
def test_where_every_token_is_hard_the_method_is_plain_distillation_with_the_skewed_divergence(
    beta,
):
    """D(ỹ ‖ β·q + (1 − β)·ỹ), whichever of the two says so."""
    found = []
    skewed = {"name": "skew_forward_kl", "config": {"skew": 1.0 - beta}}
    for criterion in (
        SelfEvolutionKD(beta=beta, threshold={"name": "fixed", "config": {"gamma": 0.0}}),
        WordKD(teacher_weight=0.5, divergence=skewed),
    ):
        student, teacher, targets = batch()
        output = criterion(student.requires_grad_(), teacher, targets)
        output.loss.backward()
        found.append((output.loss.detach(), student.grad))
        p, q = teacher.softmax(-1), student.detach().softmax(-1)
        target = 0.5 * p + 0.5 * torch.nn.functional.one_hot(targets, 6)
        blend = beta * q + (1.0 - beta) * target
        expected = (target * (target / blend).log()).sum()
        torch.testing.assert_close(output.loss.detach(), expected, rtol=1e-12, atol=0.0)
    torch.testing.assert_close(found[0], found[1], rtol=1e-12, atol=1e-14)
