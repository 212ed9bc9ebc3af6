"""Rows with gradients in closed form: loss, difficulty and gradient are those of the method."""

import pytest
import torch
from divergence_definitions import DEFINITIONS, ONE_OF_EACH, kl, name_of, title_of
from hypothesis import given
from hypothesis import strategies as st
from method_cases import SMALL, batches, fixed, loss_and_gradient, settings_of_method
from method_definition import DIVERGENCES, PROXIES, method, softmax

from sekd_plugin import Divergence, Proxy, SelfEvolutionKD, proxies
from sekd_plugin.distributions import log_mixture
from sekd_plugin.divergences import ForwardKL
from sekd_plugin.kernels.analytic import AnalyticRows
from sekd_plugin.kernels.row_kernel import DefinitionRows
from sekd_plugin.proxies import LinearProxy
from sekd_plugin.teachers import SparseTeacher

SHARES = [0.0, 0.3, 1.0]


class Analytic(SelfEvolutionKD):
    def row_kernel(self, *_):
        assert AnalyticRows.supports(self)
        return AnalyticRows(self)


class ByDefinition(SelfEvolutionKD):
    def row_kernel(self, *_):
        return DefinitionRows(self)


def share_of(ratio):
    return {"name": "top_k", "config": {"ratio": ratio}}


def batch(rows=10, words=30, dtype=torch.float64, seed=0):
    torch.manual_seed(seed)
    student, teacher = (2.0 * torch.randn(rows, words, dtype=torch.float64) for _ in range(2))
    return student.to(dtype), teacher.to(dtype), torch.randint(0, words, (rows,))


def both(*of_batch, **settings):
    found = loss_and_gradient(Analytic(**settings), *of_batch)
    return found, loss_and_gradient(ByDefinition(**settings), *of_batch)


def agree(found, expected, **tolerance):
    (output, gradient), (defined, slope) = found, expected
    assert torch.equal(output.hard, defined.hard)
    for name in ("difficulty", "token_loss", "cross_entropy"):
        torch.testing.assert_close(getattr(output, name), getattr(defined, name), **tolerance)
    if defined.agreement is not None:
        assert torch.equal(output.agreement, defined.agreement)
    torch.testing.assert_close(gradient, slope, **tolerance)


@given(batches(), settings_of_method)
def test_every_setting_has_the_losses_and_the_gradient_of_the_method(batch, settings):
    student, teacher, targets = batch
    chosen = dict(settings)
    gamma = chosen.pop("gamma")
    difficulty = chosen.pop("difficulty")
    section, definition = DIVERGENCES[chosen.pop("divergence")]
    asked, asked_definition = DIVERGENCES[difficulty] if difficulty else (None, None)
    criterion = Analytic(divergence=section, difficulty=asked, threshold=fixed(gamma), **chosen)
    criterion.chunk_bytes = SMALL
    output, gradient = loss_and_gradient(criterion, student, teacher, targets)

    chosen["proxy"] = PROXIES[chosen["proxy"]]
    leaf = student.clone().requires_grad_()
    expected, hard, losses = method(
        leaf,
        teacher,
        targets,
        gamma=gamma,
        divergence=definition,
        difficulty=asked_definition,
        **chosen,
    )
    if ((expected - gamma).abs() < 1e-8).any():
        return
    (slope,) = torch.autograd.grad(losses.sum(), leaf)
    assert torch.equal(output.hard, hard)
    torch.testing.assert_close(output.difficulty, expected, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(output.token_loss, losses.detach(), rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(gradient, slope, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("proxy", sorted(PROXIES))
@pytest.mark.parametrize("section", [s for s, _ in DEFINITIONS], ids=title_of)
def test_every_divergence_and_proxy_has_the_numbers_of_the_definition(section, proxy, share):
    settings = {"divergence": section, "proxy": proxy, "threshold": share_of(share)}
    agree(*both(*batch(), **settings), rtol=1e-8, atol=1e-10)
    agree(*both(*batch(dtype=torch.float32), **settings), rtol=2e-4, atol=5e-6)


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("difficulty", [None, "forward_kl", "total_variation"])
def test_temperature_and_scale_act_as_in_the_definition(temperature, squared, difficulty, share):
    settings = {
        "temperature": temperature,
        "temperature_squared": squared,
        "difficulty": difficulty,
        "divergence": "jensen_shannon",
        "proxy": {"name": "linear", "config": {"rescale": True}},
        "beta": 0.7,
        "threshold": share_of(share),
    }
    agree(*both(*batch(), **settings), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("section", [s for s, _ in ONE_OF_EACH], ids=title_of)
@pytest.mark.parametrize("proxy", sorted(PROXIES))
def test_without_a_teacher_the_gold_word_is_the_target(section, proxy):
    student, _, targets = batch()
    settings = {"divergence": section, "proxy": proxy, "teacher_weight": 0.0}
    if name_of(section) in ("reverse_kl", "symmetric_kl", "adaptive_kl"):
        return  # refused: infinite against the gold word alone
    agree(*both(student, None, targets, threshold=share_of(0.3), **settings))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_logits_in_half_precision_have_the_numbers_of_the_same_logits_in_fp32(dtype):
    student, teacher, targets = batch(dtype=dtype)
    settings = {"divergence": "reverse_kl", "threshold": share_of(0.3)}
    output, gradient = loss_and_gradient(Analytic(**settings), student, teacher, targets)
    wide = student.float(), teacher.float(), targets
    exact, slope = loss_and_gradient(ByDefinition(**settings), *wide)
    torch.testing.assert_close(output.token_loss, exact.token_loss)
    assert gradient.dtype == dtype
    torch.testing.assert_close(gradient.float(), slope, rtol=1e-2, atol=1e-6)


def test_an_infinite_easy_loss_of_a_hard_token_does_not_reach_its_gradient():
    student = torch.tensor([[1.0, 0.0, -torch.inf], [0.0, 1.0, 2.0]], dtype=torch.float64)
    teacher = torch.tensor([[0.0, 1.0, 2.0], [1.0, 0.0, 1.0]], dtype=torch.float64)
    found, expected = both(student, teacher, torch.tensor([1, 2]), threshold=share_of(0.5))
    assert found[0].difficulty[0] == torch.inf and found[0].hard.tolist() == [True, False]
    assert torch.isfinite(found[1]).all()
    agree(found, expected)


def test_where_nothing_is_learnt_the_losses_are_the_same():
    student, teacher, targets = batch()
    criterion = Analytic(divergence="hellinger", threshold=share_of(0.3))
    learnt, _ = loss_and_gradient(criterion, student, teacher, targets)
    with torch.no_grad():
        output = criterion(student, teacher, targets)
    assert torch.equal(output.hard, learnt.hard)
    torch.testing.assert_close(output.token_loss, learnt.token_loss)
    torch.testing.assert_close(output.difficulty, learnt.difficulty)


def test_a_sparse_teacher_is_refused():
    student, _, targets = batch(rows=2)
    nothing = torch.zeros(2, 0)
    teacher = SparseTeacher(
        indices=nothing.long(),
        log_probabilities=nothing,
        log_tail=torch.zeros(2),
        log_gold=torch.zeros(2),
    )
    with pytest.raises(TypeError, match="sparse teacher"):
        AnalyticRows(Analytic()).losses(student, teacher, targets, torch.isnan, student.clone())


# ── Proxies ──────────────────────────────────────────────────────────────────────────────────


@given(batches(), st.sampled_from([0.0, 0.25, 0.5, 0.9, 1.0]), st.sampled_from(sorted(PROXIES)))
def test_a_proxy_hands_the_gradient_to_the_student_as_its_formula_does(batch, beta, name):
    student, teacher, _ = batch
    target, log_student = softmax(teacher, 1.0), student.log_softmax(-1)
    proxy = proxies.create(name, "proxy")
    with torch.no_grad():
        _, second = proxy(target.log(), log_student, beta)
        weights = torch.linspace(-1.0, 2.0, student.shape[-1], dtype=torch.float64)
        slope = proxy.pull_back(target.log(), log_student, second, beta, weights * second.exp())
    gradient = slope - log_student.exp() * slope.sum(-1, keepdim=True)

    leaf = student.clone().requires_grad_()
    pairs = zip(target, leaf.softmax(-1), strict=True)
    blends = torch.stack([PROXIES[name](t, q, beta)[1] for t, q in pairs])
    if beta == 0.0 and name != "detached":
        assert (slope == 0.0).all()
        return
    # Σ w·q̂ has the gradient w·q̂ by log q̂.
    (expected,) = torch.autograd.grad((weights * blends).sum(), leaf)
    torch.testing.assert_close(gradient, expected, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("name", sorted(PROXIES))
def test_a_word_without_probability_is_handed_no_gradient(name):
    log_target = torch.tensor([[0.5, 0.5, 0.0, 0.0]]).log()
    log_student = torch.tensor([[0.5, 0.0, 0.5, 0.0]]).log()
    proxy = proxies.create(name, "proxy")
    _, second = proxy(log_target, log_student, 0.5)
    slope = torch.tensor([[-0.5, 0.0, 0.2, 0.0]]).masked_fill(torch.isneginf(second), 0.0)
    pulled = proxy.pull_back(log_target, log_student, second, 0.5, slope)
    assert torch.isfinite(pulled).all()
    assert pulled[0, 1] == pulled[0, 3] == 0.0


class SquaredShare(LinearProxy):
    def forward(self, log_target, log_student, beta):
        return log_target, log_mixture(log_student, log_target, beta**2)


class NoGradient(Proxy):
    def forward(self, log_target, log_student, beta):
        return log_target, log_student


class OtherKL(ForwardKL):
    def forward(self, log_target, log_student):
        return 2.0 * super().forward(log_target, log_student)


class Counted(ForwardKL):
    def __init__(self):
        self.values, self.gradients = 0, 0

    def forward(self, log_target, log_student):
        self.values += 1
        return super().forward(log_target, log_student)

    def value_and_gradient(self, log_target, log_student):
        self.gradients += 1
        return super().value_and_gradient(log_target, log_student)


class Squared(Divergence):
    def forward(self, log_target, log_student):
        return (log_target.exp() - log_student.exp()).square().sum(-1)


@pytest.mark.parametrize("name", sorted(PROXIES))
def test_every_proxy_is_analytic(name):
    assert proxies.create(name, "proxy").is_analytic


def test_a_proxy_without_a_gradient_of_its_own_is_not():
    assert not SquaredShare().is_analytic
    assert not NoGradient().is_analytic
    with pytest.raises(NotImplementedError, match="NoGradient gives no gradient"):
        rows = torch.zeros(1, 1)
        NoGradient().pull_back(rows, rows, rows, 0.5, rows)


@pytest.mark.parametrize(
    ("settings", "supported"),
    [
        ({}, True),
        ({"difficulty": Squared()}, True),
        ({"divergence": Squared()}, False),
        ({"divergence": OtherKL()}, False),
        ({"proxy": SquaredShare()}, False),
        ({"proxy": NoGradient()}, False),
    ],
)
def test_what_is_supported_is_what_has_gradients_of_its_own(settings, supported):
    assert AnalyticRows.supports(SelfEvolutionKD(**settings)) == supported


def test_a_difficulty_that_is_the_divergence_is_not_computed_again():
    divergence = Counted()
    criterion = Analytic(divergence=divergence, threshold=share_of(0.3))
    output, _ = loss_and_gradient(criterion, *batch())
    assert output.hard.sum() == 3
    assert (divergence.values, divergence.gradients) == (0, 2)  # all rows, and the hard ones

    target = 0.5 * softmax(batch()[1], 1.0) + 0.5 * torch.eye(30, dtype=torch.float64)[batch()[2]]
    expected = [kl(t, q) for t, q in zip(target, softmax(batch()[0], 1.0), strict=True)]
    torch.testing.assert_close(output.difficulty, torch.stack(expected))


def test_a_difficulty_of_its_own_is_asked_on_all_rows_and_the_loss_on_each_once():
    divergence = Counted()
    criterion = Analytic(divergence=divergence, difficulty=Squared(), threshold=share_of(0.3))
    loss_and_gradient(criterion, *batch())
    assert (divergence.values, divergence.gradients) == (0, 2)  # the easy rows, and the hard ones
