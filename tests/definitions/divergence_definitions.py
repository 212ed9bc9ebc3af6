"""Every divergence written out from its formula, in float64, over one row of probabilities.

Plain formulas on probabilities, none of them arranged as the package arranges it. Zeros are
allowed; differentiable by ``student`` where the divergence is.
"""

from __future__ import annotations

import math

import torch


def kl(first, second):
    terms = [a * (a / b).log() for a, b in zip(first, second, strict=True) if a > 0]
    return torch.stack(terms).sum()


def reverse_kl(target, student):
    return kl(student, target)


def jensen_shannon(beta):
    def divergence(target, student):
        middle = beta * target + (1 - beta) * student
        return beta * kl(target, middle) + (1 - beta) * kl(student, middle)

    return divergence


def skew_forward_kl(skew):
    return lambda target, student: kl(target, skew * target + (1 - skew) * student)


def skew_reverse_kl(skew):
    return lambda target, student: kl(student, skew * student + (1 - skew) * target)


def symmetric_kl(weight):
    return lambda target, student: weight * kl(target, student) + (1 - weight) * kl(student, target)


def total_variation(target, student):
    """The greatest difference in probability that any set of words has."""
    return (target - student).relu().sum()


def affinity(target, student, power):
    """Σ ỹ^power·q^(1 − power)."""
    terms = [
        t**power * s ** (1 - power)
        for t, s in zip(target, student, strict=True)
        if t > 0 and not (s == 0 and power < 1)
    ]
    return torch.stack(terms).sum() if terms else target.new_zeros(())


def alpha(power):
    return lambda target, student: (1 - affinity(target, student, power)) / (power * (1 - power))


def renyi(order):
    return lambda target, student: affinity(target, student, order).log() / (order - 1)


def hellinger(target, student):
    return 1 - affinity(target, student, 0.5)


def adaptive_kl(head_mass):
    def divergence(target, student):
        likely = sorted(target.tolist(), reverse=True)
        held, last = 0.0, likely[-1]
        for probability in likely:
            held += probability
            if held >= head_mass:
                last = probability
                break
        gaps = [abs(t - s) for t, s in zip(target.tolist(), student.tolist(), strict=True)]
        head = sum(gap for gap, t in zip(gaps, target.tolist(), strict=True) if t >= last)
        share = head / sum(gaps) if sum(gaps) > 0 else 0.5
        return share * kl(target, student) + (1 - share) * kl(student, target)

    return divergence


def _named(name, **config):
    return {"name": name, "config": config}


DEFINITIONS = [
    ("forward_kl", kl),
    ("reverse_kl", reverse_kl),
    (_named("jensen_shannon", beta=0.3), jensen_shannon(0.3)),
    ("skew_forward_kl", skew_forward_kl(0.1)),
    (_named("skew_forward_kl", skew=0.7), skew_forward_kl(0.7)),
    ("skew_reverse_kl", skew_reverse_kl(0.1)),
    (_named("skew_reverse_kl", skew=0.7), skew_reverse_kl(0.7)),
    ("symmetric_kl", symmetric_kl(0.5)),
    (_named("symmetric_kl", forward_weight=0.2), symmetric_kl(0.2)),
    ("total_variation", total_variation),
    ("alpha", alpha(0.5)),
    (_named("alpha", alpha=0.1), alpha(0.1)),
    (_named("alpha", alpha=0.8), alpha(0.8)),
    ("renyi", renyi(0.5)),
    (_named("renyi", order=0.05), renyi(0.05)),
    (_named("renyi", order=1.5), renyi(1.5)),
    (_named("renyi", order=4.0), renyi(4.0)),
    ("hellinger", hellinger),
    ("adaptive_kl", adaptive_kl(0.5)),
    (_named("adaptive_kl", head_mass=0.9), adaptive_kl(0.9)),
]
"""What a recipe says, and its definition."""

ONE_OF_EACH = [DEFINITIONS[place] for place in (0, 1, 2, 3, 5, 8, 9, 12, 15, 17, 18)]
"""Each divergence once."""

NOT_ABOVE = {
    "jensen_shannon": -0.3 * math.log(0.3) - 0.7 * math.log(0.7),
    "skew_forward_kl": -math.log(0.1),
    "skew_reverse_kl": -math.log(0.1),
    "total_variation": 1.0,
    "alpha": 1 / (0.8 * 0.2),
    "hellinger": 1.0,
}
"""The bounds of those of ``ONE_OF_EACH`` that have one."""


def name_of(section):
    return section if isinstance(section, str) else section["name"]


def title_of(section):
    if isinstance(section, str):
        return section
    return "_".join([section["name"], *(f"{value:g}" for value in section["config"].values())])
