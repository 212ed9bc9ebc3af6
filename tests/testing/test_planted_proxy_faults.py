"""One small faulty proxy for each fault; the check must name the law that it breaks."""

import math

import pytest
import torch

from sekd_plugin import Proxy
from sekd_plugin.distributions import log_geometric_mixture, log_mixture, through_mixture
from sekd_plugin.testing import LawBrokenError, check_proxy


class RightBlend(Proxy):
    """Right: the square of β in place of β."""

    def forward(self, log_target, log_student, beta):
        return log_target, log_mixture(log_student, log_target, beta**2)


class RightPullBack(RightBlend):
    """Right: and a multiple of q that the softmax takes away."""

    def pull_back(self, log_target, log_student, log_second, beta, gradient):
        pulled = through_mixture(log_student, log_second, beta**2, gradient)
        return pulled - 3.0 * log_student.exp()


class SwappedShares(Proxy):
    def forward(self, log_target, log_student, beta):
        return log_target, log_mixture(log_target, log_student, beta)


class NeverQuiteTheTarget(Proxy):
    def forward(self, log_target, log_student, beta):
        return log_target, log_mixture(log_student, log_target, max(beta, 0.05))


class GradientThroughTheTarget(Proxy):
    """The intermediate target, without the stop."""

    def forward(self, log_target, log_student, beta):
        return log_mixture(log_student, log_target, beta), log_student


class NoGradientThroughTheBlend(Proxy):
    def forward(self, log_target, log_student, beta):
        return log_target, log_mixture(log_student.detach(), log_target, beta)


class NotNormalised(Proxy):
    def forward(self, log_target, log_student, beta):
        return log_target, log_student + math.log(0.5 + beta / 2)


class Epsilon(Proxy):
    def forward(self, log_target, log_student, beta):
        mixture = beta * log_student.exp() + (1 - beta) * log_target.exp()
        return log_target, (mixture + 1e-8).log()


class NaNGradientAtZero(Proxy):
    def forward(self, log_target, log_student, beta):
        if beta in (0.0, 1.0):
            return log_target, log_mixture(log_student, log_target, beta)
        share = log_student + math.log(beta), log_target + math.log1p(-beta)
        return log_target, torch.logaddexp(*share)


class RowsMixed(Proxy):
    def forward(self, log_target, log_student, beta):
        if not log_student.numel():
            return log_target, log_student
        mean = log_student.exp().mean(dim=0, keepdim=True).log().expand_as(log_student)
        return log_target, log_mixture(mean, log_target, beta)


class PositionMatters(Proxy):
    def forward(self, log_target, log_student, beta):
        first = log_student.roll(1, dims=-1)
        return log_target, log_mixture(log_mixture(first, log_student, 0.1), log_target, beta)


class Smoothed(Proxy):
    def forward(self, log_target, log_student, beta):
        uniform = torch.full_like(log_student, -math.log(log_student.shape[-1]))
        return log_target, log_mixture(log_mixture(uniform, log_student, 0.1), log_target, beta)


class InPlace(Proxy):
    def forward(self, log_target, log_student, beta):
        log_student.clamp_(min=-50.0)
        return log_target, log_mixture(log_student, log_target, beta)


class WrongDtype(Proxy):
    def forward(self, log_target, log_student, beta):
        return log_target, log_mixture(log_student, log_target, beta).float()


class HalfPrecisionInside(Proxy):
    def forward(self, log_target, log_student, beta):
        target, student = log_target, log_student
        if log_student.dtype == torch.float32:
            target = torch.log_softmax(log_target.bfloat16().float(), dim=-1)
            student = torch.log_softmax(log_student.bfloat16().float(), dim=-1)
        return log_target, log_geometric_mixture(student, target, beta)


class OneTensor(Proxy):
    def forward(self, log_target, log_student, beta):
        return log_mixture(log_student, log_target, beta)


class NegativeScale(Proxy):
    def forward(self, log_target, log_student, beta):
        return log_target, log_mixture(log_student, log_target, beta)

    def scale(self, beta):
        return -1.0


class Sharpened(Proxy):
    """Half of the logits' temperature: at q = ỹ the two still differ."""

    def forward(self, log_target, log_student, beta):
        return log_target, torch.log_softmax((1.0 + beta) * log_student, dim=-1)


class PullBackOffByOnePercent(RightBlend):
    def pull_back(self, log_target, log_student, log_second, beta, gradient):
        return 1.01 * through_mixture(log_student, log_second, beta**2, gradient)


class PullBackOfForwardKLAlone(RightBlend):
    """What comes in is taken to be −ỹ."""

    def pull_back(self, log_target, log_student, log_second, beta, gradient):
        return through_mixture(log_student, log_second, beta**2, -log_target.exp())


class NaNPullBackAtZero(RightBlend):
    def pull_back(self, log_target, log_student, log_second, beta, gradient):
        return beta**2 * log_student.exp() / log_second.exp() * gradient


class PullBackOfAnotherShape(RightBlend):
    def pull_back(self, log_target, log_student, log_second, beta, gradient):
        return gradient.sum(dim=-1, keepdim=True)


class PullBackInPlace(RightBlend):
    def pull_back(self, log_target, log_student, log_second, beta, gradient):
        return gradient.mul_(log_student.sub_(log_second).exp_()).mul_(beta**2)


class PullBackOntoTheProxy(RightBlend):
    def pull_back(self, log_target, log_student, log_second, beta, gradient):
        return gradient.mul_(log_second.sub_(log_student).neg_().exp_()).mul_(beta**2)


class FourthPowerWithoutItsGradient(PullBackOffByOnePercent):
    """What it inherits is not of its own pair, and is not used."""

    def forward(self, log_target, log_student, beta):
        return super().forward(log_target, log_student, beta**2)


FAULTS = [
    (SwappedShares, "one end of β is an easy token"),
    (NeverQuiteTheTarget, "the other end teaches nothing"),
    (GradientThroughTheTarget, "no gradient through the target"),
    (NoGradientThroughTheBlend, "the gradient is the slope through the student"),
    (NotNormalised, "a pair of log-distributions"),
    (Epsilon, "a pair of log-distributions"),
    (NaNGradientAtZero, "finite"),
    (RowsMixed, "each row by itself"),
    (PositionMatters, "words have no order"),
    (Smoothed, "impossible words stay impossible"),
    (InPlace, "inputs are left unchanged"),
    (WrongDtype, "a pair of log-distributions"),
    (HalfPrecisionInside, "fp32 agrees with float64"),
    (OneTensor, "a pair of log-distributions"),
    (NegativeScale, "a pair of log-distributions"),
    (Sharpened, "nothing to learn at equality"),
    (PullBackOffByOnePercent, "the analytic gradient is autograd's"),
    (PullBackOfForwardKLAlone, "the analytic gradient is autograd's"),
    (NaNPullBackAtZero, "the analytic gradient is autograd's"),
    (PullBackOfAnotherShape, "the analytic gradient is autograd's"),
    (PullBackInPlace, "inputs are left unchanged"),
    (PullBackOntoTheProxy, "inputs are left unchanged"),
]


@pytest.mark.parametrize(("proxy", "law"), FAULTS, ids=lambda part: getattr(part, "__name__", None))
def test_a_fault_is_named_by_the_law_it_breaks(proxy, law):
    with pytest.raises(LawBrokenError) as caught:
        check_proxy(proxy, max_examples=25)
    assert caught.value.law == law, caught.value
    text = str(caught.value)
    assert law in text
    assert proxy.__name__ in text
    assert "beta = " in text


@pytest.mark.parametrize("proxy", [RightBlend, RightPullBack, FourthPowerWithoutItsGradient])
def test_a_right_proxy_passes(proxy):
    check_proxy(proxy, max_examples=10)
