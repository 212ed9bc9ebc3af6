"""One small faulty divergence for each fault; the check must name the law that it breaks."""

import math
from dataclasses import dataclass

import pytest
import torch

from sekd_plugin import ConfigError, Divergence
from sekd_plugin.distributions import log_mixture
from sekd_plugin.divergences.total_variation import TotalVariation
from sekd_plugin.testing import LawBrokenError, check_divergence
from sekd_plugin.testing.divergence_laws import LAWS
from sekd_plugin.testing.laws import BreachError
from sekd_plugin.testing.strategies import RowPair


def kl(log_first, log_second):
    """The textbook sum, finite wherever it can be."""
    absent = log_first.exp() == 0.0
    terms = log_first.exp() * (
        log_first.masked_fill(absent, 0.0) - log_second.masked_fill(absent, 0.0)
    )
    return terms.masked_fill(absent, 0.0).sum(dim=-1)


def kl_by_definition(target, student):
    """KL(target ‖ student) over two lists of probabilities, as an author would write it."""
    total = 0.0
    for p, q in zip(target, student, strict=True):
        if p > 0.0:
            total += p * math.log(p / q) if q > 0.0 else math.inf
    return total


def squared_distance_by_definition(target, student):
    return sum((p - q) ** 2 for p, q in zip(target, student, strict=True))


class RightKL(Divergence):
    def forward(self, log_target, log_student):
        return kl(log_target, log_student)


class RightSquaredDistance(Divergence):
    """Square of the Euclidean distance: a true divergence that is none of the built-ins."""

    def forward(self, log_target, log_student):
        return (log_target.exp() - log_student.exp()).square().sum(dim=-1)


class RightAnalyticGradient(RightKL):
    """Right: −ỹ, and a multiple of q that the softmax takes away."""

    def value_and_gradient(self, log_target, log_student):
        return kl(log_target, log_student), 2.0 * log_student.exp() - log_target.exp()


class NoEntropyTerm(Divergence):
    def forward(self, log_target, log_student):
        absent = log_target.exp() == 0.0
        terms = log_target.exp() * log_student.masked_fill(absent, 0.0)
        return -terms.masked_fill(absent, 0.0).sum(dim=-1)


class SwappedDirection(Divergence):
    def forward(self, log_target, log_student):
        return kl(log_student, log_target)


class SwappedSkew(Divergence):
    """Finite everywhere, so that only a definition tells which side was meant to be skewed."""

    def forward(self, log_target, log_student):
        return kl(log_student, log_mixture(log_target, log_student, 0.5))


class DeclaredInfinite(Divergence):
    """Forward KL under the flag of the reverse one."""

    infinite_on_zero_target = True

    def forward(self, log_target, log_student):
        return kl(log_target, log_student)


class WrongSign(Divergence):
    def forward(self, log_target, log_student):
        return -kl(log_target, log_student)


class Epsilon(Divergence):
    def __init__(self, epsilon=1e-8):
        self.epsilon = epsilon

    def forward(self, log_target, log_student):
        target, student = log_target.exp(), log_student.exp()
        ratio = (target + self.epsilon).log() - (student + self.epsilon).log()
        return (target * ratio).sum(dim=-1)


class EpsilonOnOneSide(Divergence):
    def forward(self, log_target, log_student):
        target = log_target.exp()
        absent = target == 0.0
        ratio = log_target.masked_fill(absent, 0.0) - (log_student.exp() + 1e-8).log()
        return (target * ratio).sum(dim=-1)


class ClampedTotal(Divergence):
    """A truncated sum can be negative; the clamp hides that, and rows far apart come to zero."""

    def forward(self, log_target, log_student):
        size = max(1, log_target.shape[-1] - 1)
        top = log_target.topk(size, dim=-1).indices
        return kl(log_target.gather(-1, top), log_student.gather(-1, top)).clamp(min=0.0)


class ClampedTerms(Divergence):
    def forward(self, log_target, log_student):
        absent = log_target.exp() == 0.0
        ratio = log_target.masked_fill(absent, 0.0) - log_student.masked_fill(absent, 0.0)
        return (log_target.exp() * ratio).clamp(min=0.0).masked_fill(absent, 0.0).sum(dim=-1)


class MeanOverWords(Divergence):
    def forward(self, log_target, log_student):
        return kl(log_target, log_student) / log_target.shape[-1]


class RowsMixed(Divergence):
    def forward(self, log_target, log_student):
        own = kl(log_target, log_student)
        finite = torch.where(torch.isfinite(own), own, 0.0)
        return own * (1.0 + finite.mean()) if own.numel() else own


class RowsMixedInGradient(Divergence):
    def forward(self, log_target, log_student):
        own = kl(log_target, log_student)
        other = log_student.exp().square().sum()
        return own + (other - other.detach())


class PaddingLeaks(Divergence):
    """Smoothed by 1/V: every added word, even an impossible one, changes the result."""

    def forward(self, log_target, log_student):
        share = 0.1 / log_target.shape[-1]
        target, student = (0.9 * rows.exp() + share for rows in (log_target, log_student))
        return (target * (target / student).log()).sum(dim=-1)


class SquaredTemperatureInValueOnly(Divergence):
    def forward(self, log_target, log_student):
        value = kl(log_target, log_student)
        reported = value.detach() * 4.0
        return torch.where(torch.isfinite(value), value + (reported - value.detach()), reported)


class _KLWithGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, log_target, log_student, factor, leak):
        ctx.save_for_backward(log_target)
        ctx.factor, ctx.leak = factor, leak
        return kl(log_target, log_student)

    @staticmethod
    def backward(ctx, grad):
        (log_target,) = ctx.saved_tensors
        student = -log_target.exp() * grad.unsqueeze(-1) * ctx.factor
        return (student if ctx.leak else None), student, None, None


class GradientOffByOnePercent(Divergence):
    def forward(self, log_target, log_student):
        return _KLWithGradient.apply(log_target, log_student, 1.01, False)


class GradientIntoTheTarget(Divergence):
    """A backward pass that hands the student's gradient to the target too."""

    def forward(self, log_target, log_student):
        return _KLWithGradient.apply(log_target, log_student, 1.0, True)


class NoGradient(Divergence):
    def forward(self, log_target, log_student):
        return kl(log_target, log_student.detach())


class NaNGradientAtZero(Divergence):
    """The masked term's value is dropped, its gradient is 0 · inf."""

    def forward(self, log_target, log_student):
        roots = (log_target.exp().sqrt() - log_student.exp().sqrt()).square()
        return 0.5 * roots.sum(dim=-1)


class NotZeroAtEquality(Divergence):
    def forward(self, log_target, log_student):
        return kl(log_target, log_student) + 0.001


class InPlace(Divergence):
    def forward(self, log_target, log_student):
        log_student.clamp_(min=-100.0)
        return kl(log_target, log_student)


class WrongDtype(Divergence):
    def forward(self, log_target, log_student):
        return kl(log_target.double(), log_student.double()).float()


class HalfPrecisionInside(Divergence):
    def forward(self, log_target, log_student):
        if log_student.dtype != torch.float32:
            return (log_target.exp() - log_student.exp()).square().sum(dim=-1)
        distance = (log_target.exp() - log_student.exp()).square()
        return distance.bfloat16().float().sum(dim=-1)


class OneNumberForAll(Divergence):
    def forward(self, log_target, log_student):
        return kl(log_target, log_student).sum()


class PositionMatters(Divergence):
    def forward(self, log_target, log_student):
        weight = torch.arange(1, log_target.shape[-1] + 1, dtype=log_target.dtype)
        return (weight * (log_target.exp() - log_student.exp()).square()).sum(dim=-1)


class Random(Divergence):
    def forward(self, log_target, log_student):
        value = kl(log_target, log_student)
        return value * (1.0 + torch.rand_like(value))


class Raises(Divergence):
    def forward(self, log_target, log_student):
        if log_target.shape[-1] == 1:
            raise IndexError("a vocabulary of one word")
        return kl(log_target, log_student)


class AnalyticGradientOffByOnePercent(RightKL):
    def value_and_gradient(self, log_target, log_student):
        return kl(log_target, log_student), -1.01 * log_target.exp()


class AnotherValueBesideTheGradient(RightKL):
    def value_and_gradient(self, log_target, log_student):
        return 1.01 * kl(log_target, log_student), -log_target.exp()


class NaNAnalyticGradientAtZero(RightKL):
    """∂D/∂q times q, with a division by a probability of zero between the two."""

    def value_and_gradient(self, log_target, log_student):
        student = log_student.exp()
        return kl(log_target, log_student), -log_target.exp() / student * student


class GradientByProbability(RightKL):
    """The gradient by q, not by log q."""

    def value_and_gradient(self, log_target, log_student):
        return kl(log_target, log_student), -(log_target - log_student).exp()


class AnalyticGradientOfAnotherShape(RightKL):
    def value_and_gradient(self, log_target, log_student):
        return kl(log_target, log_student), -log_target.exp().sum(dim=-1, keepdim=True)


class AnalyticGradientInAnotherDtype(RightKL):
    def value_and_gradient(self, log_target, log_student):
        return kl(log_target, log_student), -log_target.double().exp()


class AnalyticInPlace(RightKL):
    def value_and_gradient(self, log_target, log_student):
        return kl(log_target, log_student), log_target.exp_().neg_()


@dataclass
class Fault:
    divergence: Divergence
    law: str
    definition: object = None


class OtherSideOfTheJump(TotalVariation):
    """A word that is up to a thousandth too likely is taught to be likelier still."""

    def value_and_gradient(self, log_target, log_student):
        value, _ = super().value_and_gradient(log_target, log_student)
        behind = log_student <= log_target + 1e-3
        return value, torch.where(behind, -0.5, 0.5) * log_student.exp()


class WrongBesideTheJump(TotalVariation):
    """In fp32 the gradient is five times too long."""

    def forward(self, log_target, log_student):
        value = super().forward(log_target, log_student)
        if value.dtype == torch.float64:
            return value
        steep = 5.0 * (log_student.exp() * torch.tensor([1.0, -1.0])).sum(dim=-1)
        return value.detach() + steep - steep.detach()


FAULTS = [
    Fault(NoEntropyTerm(), "zero where the rows are equal"),
    Fault(SwappedDirection(), "a number, and finite where it can be"),
    Fault(DeclaredInfinite(), "infinite_on_zero_target is true"),
    Fault(WrongSign(), "never negative"),
    Fault(EpsilonOnOneSide(), "zero where the rows are equal"),
    Fault(ClampedTotal(), "above zero where they differ"),
    Fault(MeanOverWords(), "impossible words change nothing"),
    Fault(RowsMixed(), "each row by itself"),
    Fault(RowsMixedInGradient(), "each row by itself"),
    Fault(PaddingLeaks(), "impossible words change nothing"),
    Fault(SquaredTemperatureInValueOnly(), "the gradient is the slope of the value"),
    Fault(GradientOffByOnePercent(), "the gradient is the slope of the value"),
    Fault(NoGradient(), "the gradient is the slope of the value"),
    Fault(GradientIntoTheTarget(), "a gradient to the target is true"),
    Fault(NaNGradientAtZero(), "the gradient is finite where the value is"),
    Fault(NotZeroAtEquality(), "zero where the rows are equal"),
    Fault(InPlace(), "inputs are left unchanged"),
    Fault(WrongDtype(), "one number a row"),
    Fault(OneNumberForAll(), "one number a row"),
    Fault(Random(), "one number a row"),
    Fault(Raises(), "one number a row"),
    Fault(HalfPrecisionInside(), "fp32 agrees with float64"),
    Fault(PositionMatters(), "words have no order"),
    Fault(AnalyticGradientOffByOnePercent(), "the analytic gradient is autograd's"),
    Fault(AnotherValueBesideTheGradient(), "the analytic gradient is autograd's"),
    Fault(NaNAnalyticGradientAtZero(), "the analytic gradient is autograd's"),
    Fault(GradientByProbability(), "the analytic gradient is autograd's"),
    Fault(AnalyticGradientOfAnotherShape(), "the analytic gradient is autograd's"),
    Fault(AnalyticGradientInAnotherDtype(), "the analytic gradient is autograd's"),
    Fault(AnalyticInPlace(), "inputs are left unchanged"),
    # What leaves another true divergence is seen by the definition alone.
    Fault(SwappedSkew(), "the definition", kl_by_definition),
    Fault(Epsilon(1e-12), "the definition", kl_by_definition),
    Fault(ClampedTerms(), "the definition", kl_by_definition),
    Fault(RightSquaredDistance(), "the definition", kl_by_definition),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault.divergence).__name__)
def test_a_fault_is_named_by_the_law_it_breaks(fault):
    with pytest.raises(LawBrokenError) as caught:
        check_divergence(fault.divergence, fault.definition, max_examples=12)
    assert caught.value.law == fault.law, caught.value
    text = str(caught.value)
    assert fault.law in text
    assert type(fault.divergence).__name__ in text
    assert "target_logits = " in text


class DoubledWithoutItsGradient(AnalyticGradientOffByOnePercent):
    """What it inherits is not of its own value, and is not used."""

    def forward(self, log_target, log_student):
        return 2.0 * kl(log_target, log_student)


RIGHT = [RightKL, RightSquaredDistance, RightAnalyticGradient, DoubledWithoutItsGradient]


@pytest.mark.parametrize("divergence", RIGHT)
def test_a_right_divergence_passes(divergence):
    check_divergence(divergence, max_examples=10)


def test_a_right_divergence_passes_with_its_definition():
    check_divergence(RightKL(), kl_by_definition, max_examples=10)
    check_divergence(RightSquaredDistance(), squared_distance_by_definition, max_examples=10)


@pytest.mark.parametrize("divergence", [SwappedSkew, ClampedTerms])
def test_another_true_divergence_passes_without_a_definition(divergence):
    check_divergence(divergence, max_examples=10)


def law_beside_a_jump(name, divergence, student):
    """A law on one pair of two-word rows whose words differ by less than fp32 rounding."""
    (law,) = [law for law in LAWS if law.name == name]
    target = torch.tensor([[0.0, 0.25]], dtype=torch.float64)
    law.check(type(divergence), RowPair(target, torch.tensor([student]).double(), torch.float32))


ROUNDED_TO_EQUAL = [0.0024999999441206455, 0.2524999976158142]


def test_a_gradient_may_take_either_side_of_a_jump_where_fp32_cannot_tell_them_apart():
    law = "fp32 agrees with float64"
    law_beside_a_jump(law, TotalVariation(), ROUNDED_TO_EQUAL)
    with pytest.raises(BreachError, match="the gradient in fp32"):
        law_beside_a_jump(law, WrongBesideTheJump(), ROUNDED_TO_EQUAL)


def test_so_may_an_analytic_gradient():
    law = "the analytic gradient is autograd's"
    law_beside_a_jump(law, OtherSideOfTheJump(), ROUNDED_TO_EQUAL)
    with pytest.raises(BreachError, match="the analytic gradient"):
        law_beside_a_jump(law, OtherSideOfTheJump(), [0.0, 0.2505])


def test_the_report_shows_the_smallest_example_and_both_numbers():
    with pytest.raises(LawBrokenError) as caught:
        check_divergence(MeanOverWords(), max_examples=12)
    assert "impossible_words = 1" in caught.value.example
    got, expected = (
        float(str(side).split()[0]) for side in (caught.value.got, caught.value.expected)
    )
    assert got == pytest.approx(expected * 2 / 3)
    assert f"got       {caught.value.got}" in str(caught.value)
    assert f"expected  {caught.value.expected}" in str(caught.value)


def test_the_same_seed_finds_the_same_example():
    def report(seed):
        with pytest.raises(LawBrokenError) as caught:
            check_divergence(NoEntropyTerm(), max_examples=10, seed=seed)
        return str(caught.value)

    assert report(3) == report(3)


def test_a_skipped_law_is_not_checked():
    law = "the gradient is the slope of the value"
    check_divergence(GradientOffByOnePercent(), max_examples=5, skip=(law,))


def test_an_unknown_law_to_skip_is_refused():
    with pytest.raises(ConfigError, match="did you mean 'never negative'"):
        check_divergence(RightKL(), skip=("never negativ",))


@pytest.mark.parametrize("wrong", [3, dict, {"config": {}}, "forward_kll"])
def test_what_is_no_divergence_is_refused(wrong):
    with pytest.raises(ConfigError, match="divergence"):
        check_divergence(wrong)
