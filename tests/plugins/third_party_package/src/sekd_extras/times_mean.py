"""A Γ relative to the last step's mean."""

import math

from sekd_plugin import KnownGamma


class TimesMean(KnownGamma):
    """Γ is a multiple of the mean difficulty of the last finished step.

    Formula:
        Γ = factor·mean(d of the last step); hard ⇔ d > Γ

    Use it to see that a threshold needs little more.

    Args:
        factor: above 1 makes fewer tokens hard.
    """

    def __init__(self, factor: float) -> None:
        self.factor = factor
        self.mean = None

    @property
    def gamma(self):
        return math.inf if self.mean is None else self.factor * self.mean

    def step(self, difficulty):
        if difficulty.numel():
            self.mean = float(difficulty.mean())

    def state_dict(self):
        return {"mean": self.mean}

    def load_state_dict(self, state):
        self.mean = state["mean"]
