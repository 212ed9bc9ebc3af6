"""One small faulty threshold for each fault; the check must name the law that it breaks."""

import sys
from dataclasses import dataclass

import pytest
import torch

from sekd_plugin import ConfigError, KnownGamma, Threshold
from sekd_plugin.testing import LawBrokenError, check_threshold
from sekd_plugin.testing.threshold_laws import LAWS


class FollowsTheMean(KnownGamma):
    """Γ is the mean of all finished steps' means; right, and with a state of two numbers."""

    def __init__(self):
        self._gamma, self._steps = 0.0, 0

    @property
    def gamma(self):
        return self._gamma if self._steps else float("inf")

    def step(self, difficulty):
        finite = difficulty[torch.isfinite(difficulty)].double()
        if finite.numel():
            self._steps += 1
            self._gamma += (float(finite.mean()) - self._gamma) / self._steps

    def state_dict(self):
        return {"gamma": self._gamma, "steps": self._steps}

    def load_state_dict(self, state):
        self._gamma, self._steps = state["gamma"], state["steps"]


class AboveTheBatchMedian(Threshold):
    """Right: a batch decides, and ties make fewer tokens hard."""

    def decide(self, difficulty):
        return difficulty > difficulty.median() if difficulty.numel() else difficulty > 0


class OneMoreUnderTies(Threshold):
    def decide(self, difficulty):
        k = min(2, difficulty.numel())
        if k == 0:
            return torch.zeros_like(difficulty, dtype=torch.bool)
        return difficulty >= difficulty.topk(k).values[-1]


class FewerUnderTies(Threshold):
    def decide(self, difficulty):
        if difficulty.numel() <= 2:
            return torch.ones_like(difficulty, dtype=torch.bool)
        return difficulty > difficulty.topk(3).values[-1]


class AtGammaIsHard(FollowsTheMean):
    def decide(self, difficulty):
        return difficulty >= self.gamma


class SaysItDoesNotObserve(FollowsTheMean):
    observes = False


class EasyAndHardSwapped(FollowsTheMean):
    def decide(self, difficulty):
        return difficulty < self.gamma


class GammaTurnedOver(FollowsTheMean):
    def decide(self, difficulty):
        return difficulty > 1.0 / self.gamma if self.gamma else difficulty > 100.0


class ForgetsItsState(FollowsTheMean):
    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


class ForgetsHalfOfItsState(FollowsTheMean):
    def load_state_dict(self, state):
        self._gamma, self._steps = state["gamma"], min(state["steps"], 1)


class KeepsItsOldState(FollowsTheMean):
    def load_state_dict(self, state):
        self._gamma = max(self._gamma, state["gamma"])
        self._steps = max(self._steps, state["steps"])


class SavesWhatCannotBeLoaded(FollowsTheMean):
    def state_dict(self):
        return {**super().state_dict(), "self": self}


class MovesWithEveryMicroBatch(FollowsTheMean):
    def decide(self, difficulty):
        hard = super().decide(difficulty)
        super().step(difficulty)
        return hard

    def step(self, difficulty):
        pass


class RankByItself(KnownGamma):
    """Γ is the mean of what this process decided on: the other ranks' tokens are missing."""

    def __init__(self):
        self._sum, self._count, self._gamma = 0.0, 0, float("inf")

    @property
    def gamma(self):
        return self._gamma

    def decide(self, difficulty):
        finite = difficulty[torch.isfinite(difficulty)]
        self._sum += float(finite.sum())
        self._count += finite.numel()
        return difficulty > self._gamma

    def step(self, difficulty):
        if self._count:
            self._gamma = self._sum / self._count


class MovedByEvaluation(KnownGamma):
    """Half of the greatest difficulty ever decided on, in validation too."""

    def __init__(self):
        self._greatest, self._gamma = 0.0, 0.0

    @property
    def gamma(self):
        return self._gamma

    def decide(self, difficulty):
        hard = difficulty > self._gamma
        self._note(difficulty)
        return hard

    def step(self, difficulty):
        self._note(difficulty)
        self._gamma = 0.5 * self._greatest

    def _note(self, difficulty):
        finite = difficulty[torch.isfinite(difficulty)]
        self._greatest = max([self._greatest, *finite.tolist()])


class GammaIsATensor(FollowsTheMean):
    def step(self, difficulty):
        if difficulty.numel():
            self._steps, self._gamma = 1, difficulty.mean()


class KeepsAGraph(FollowsTheMean):
    last = None

    def step(self, difficulty):
        super().step(difficulty)
        self.last = [difficulty]


class SoftDecision(FollowsTheMean):
    def decide(self, difficulty):
        return torch.sigmoid(difficulty)


class InPlace(FollowsTheMean):
    def decide(self, difficulty):
        return difficulty.clamp_(max=3.0) > self.gamma


class InPlaceStep(FollowsTheMean):
    def step(self, difficulty):
        super().step(difficulty.mul_(1.0))
        difficulty.mul_(0.5)


class BatchInDisguise(Threshold):
    needs_batch = False

    def decide(self, difficulty):
        return difficulty > difficulty.mean()


class FirstTokenDecides(Threshold):
    def decide(self, difficulty):
        return difficulty > difficulty[:1] if difficulty.numel() else difficulty > 0


class InfinityCounts(FollowsTheMean):
    def step(self, difficulty):
        if difficulty.numel():
            self._steps, self._gamma = 1, float(difficulty.mean())


class EmptyStepIsNaN(FollowsTheMean):
    def step(self, difficulty):
        finite = difficulty[torch.isfinite(difficulty)]
        self._steps, self._gamma = 1, float(finite.mean())


class EmptyBatchFails(FollowsTheMean):
    def decide(self, difficulty):
        return difficulty > min(self.gamma, float(difficulty.max()) + 1.0)


@dataclass
class Fault:
    threshold: type
    law: str
    count: object = None
    skip: tuple = ()


FAULTS = [
    Fault(OneMoreUnderTies, "ties add no hard token"),
    Fault(OneMoreUnderTies, "the declared count", lambda n: min(n, 2), ("ties add no hard token",)),
    Fault(FewerUnderTies, "the declared count", lambda n: min(n, 2)),
    Fault(AtGammaIsHard, "hard means above Γ"),
    Fault(SaysItDoesNotObserve, "observes is true"),
    Fault(EasyAndHardSwapped, "no easy token is harder than a hard one"),
    Fault(GammaTurnedOver, "hard means above Γ"),
    Fault(GammaTurnedOver, "raising Γ adds no hard token", None, ("hard means above Γ",)),
    Fault(ForgetsItsState, "state survives a checkpoint"),
    Fault(ForgetsHalfOfItsState, "state survives a checkpoint"),
    Fault(KeepsItsOldState, "state survives a checkpoint"),
    Fault(SavesWhatCannotBeLoaded, "state survives a checkpoint"),
    Fault(MovesWithEveryMicroBatch, "micro-batches have no order"),
    Fault(RankByItself, "one rank is as good as two"),
    Fault(MovedByEvaluation, "evaluation leaves no trace"),
    Fault(GammaIsATensor, "no gradient leaks"),
    Fault(KeepsAGraph, "no gradient leaks"),
    Fault(SoftDecision, "one bool a token"),
    Fault(InPlace, "inputs are left unchanged"),
    Fault(InPlaceStep, "inputs are left unchanged"),
    Fault(BatchInDisguise, "no batch means each token alone"),
    Fault(FirstTokenDecides, "tokens have no order"),
    Fault(InfinityCounts, "infinity is not contagious"),
    Fault(EmptyStepIsNaN, "an empty step is harmless"),
    Fault(EmptyBatchFails, "one bool a token"),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.threshold.__name__)
def test_a_fault_is_named_by_the_law_it_breaks(fault):
    with pytest.raises(LawBrokenError) as caught:
        check_threshold(fault.threshold, count=fault.count, max_examples=12, skip=fault.skip)
    assert caught.value.law == fault.law, caught.value
    text = str(caught.value)
    assert fault.law in text
    assert fault.threshold.__name__ in text
    assert f"got       {caught.value.got}" in text
    assert f"expected  {caught.value.expected}" in text


@pytest.mark.parametrize("threshold", [FollowsTheMean, AboveTheBatchMedian])
def test_a_right_threshold_passes(threshold):
    check_threshold(threshold, max_examples=10)


def test_an_instance_is_checked_in_its_state_and_left_as_it_was():
    threshold = FollowsTheMean()
    threshold.step(torch.tensor([1.0, 3.0]))
    check_threshold(threshold, max_examples=10)
    assert threshold.gamma == 2.0


def test_the_report_shows_the_smallest_example():
    with pytest.raises(LawBrokenError) as caught:
        check_threshold(OneMoreUnderTies, max_examples=12)
    assert "tied = (1.0, 1.0, 1.0)" in caught.value.example
    assert caught.value.got == "3 hard tokens"
    assert caught.value.expected == "2, as without ties"


RANK_MODULE = """
import torch.distributed as dist
from sekd_plugin import KnownGamma, Threshold

class OverRanks(Threshold):
    decides_over_ranks = True

    def __init__(self, by_rank: bool):
        assert not by_rank

    def decide(self, difficulty):
        return difficulty > difficulty.mean() if difficulty.numel() else difficulty > 0.0

class Scaled(KnownGamma):
    def __init__(self, by_rank: bool):
        self._gamma, self.by_rank = 0.0, by_rank

    @property
    def gamma(self):
        return self._gamma

    def step(self, difficulty):
        share = dist.get_rank() if self.by_rank and dist.is_initialized() else 0
        self._gamma = float(difficulty.mean()) + share
        assert difficulty.numel()

    def state_dict(self):
        return {"gamma": self._gamma}

    def load_state_dict(self, state):
        self._gamma = state["gamma"]
"""


@pytest.fixture
def rank_module(tmp_path, monkeypatch):
    (tmp_path / "thresholds_of_ranks.py").write_text(RANK_MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    yield "thresholds_of_ranks"
    sys.modules.pop("thresholds_of_ranks", None)


ALL_BUT_TWO_PROCESSES = tuple(law.name for law in LAWS)


def check_on_two_processes(choice):
    check_threshold(choice, two_processes=True, max_examples=1, skip=ALL_BUT_TWO_PROCESSES)


@pytest.mark.parametrize("kind", ["Scaled", "OverRanks"])
def test_two_real_processes_agree_on_a_right_threshold(rank_module, kind):
    check_on_two_processes({"name": f"{rank_module}:{kind}", "config": {"by_rank": False}})


def test_two_real_processes_show_a_threshold_that_asks_for_its_rank(rank_module):
    with pytest.raises(LawBrokenError) as caught:
        check_on_two_processes({"name": f"{rank_module}:Scaled", "config": {"by_rank": True}})
    assert caught.value.law == "two processes agree"


def test_two_processes_need_a_name():
    with pytest.raises(ConfigError, match="two_processes: needs the threshold by name"):
        check_threshold(FollowsTheMean(), two_processes=True)
