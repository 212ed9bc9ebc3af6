"""The method written out from its equations, in float64, a row at a time, with plain formulas.

It shares nothing with the package: probabilities rather than log-probabilities, loops rather than
tensors where a loop is clearer. Rows must be tame (no infinities, nothing that underflows).
"""

from __future__ import annotations

import math

import torch


def softmax(logits, temperature):
    return torch.softmax(logits.double() / temperature, dim=-1)


def forward_kl(target, student):
    terms = [t * (t.log() - s.log()) for t, s in zip(target, student, strict=True) if t > 0]
    return torch.stack(terms).sum()


def reverse_kl(target, student):
    return forward_kl(student, target)


def jensen_shannon(beta):
    def divergence(target, student):
        middle = beta * target + (1 - beta) * student
        return beta * forward_kl(target, middle) + (1 - beta) * forward_kl(student, middle)

    return divergence


DIVERGENCES = {
    "forward_kl": ("forward_kl", forward_kl),
    "reverse_kl": ("reverse_kl", reverse_kl),
    "jensen_shannon": (
        {"name": "jensen_shannon", "config": {"beta": 0.3}},
        jensen_shannon(0.3),
    ),
}


def linear(target, student, beta):
    return target, beta * student + (1 - beta) * target


def log_linear(target, student, beta):
    if beta == 1.0:
        return target, student
    blend = torch.where(target > 0, student**beta * target ** (1 - beta), torch.zeros_like(target))
    return target, blend / blend.sum()


def detached(target, student, beta):
    return (beta * student + (1 - beta) * target).detach(), student


PROXIES = {"linear": linear, "log_linear": log_linear, "detached": detached}


def target_of(teacher, gold, teacher_weight):
    """ỹ = (1 − λ)·y + λ·p."""
    one_hot = torch.zeros_like(teacher)
    one_hot[gold] = 1.0
    return (1 - teacher_weight) * one_hot + teacher_weight * teacher


def method(
    student_logits,
    teacher_logits,
    targets,
    *,
    teacher_weight,
    beta,
    gamma,
    temperature=1.0,
    divergence=forward_kl,
    difficulty=None,
    proxy=linear,
    hard=None,
):
    """Difficulty, hard and loss of each row; the losses are differentiable by ``student_logits``.

    ``hard`` may be given instead of being decided by d > Γ.
    """
    student = softmax(student_logits, temperature)
    teacher = softmax(teacher_logits, temperature).detach()
    seen, decided, losses = [], [], []
    for row, gold in enumerate(targets.tolist()):
        target = target_of(teacher[row], gold, teacher_weight)
        d = float((difficulty or divergence)(target, student[row].detach()))
        is_hard = d > gamma if hard is None else bool(hard[row])
        pair = proxy(target, student[row], beta) if is_hard else (target, student[row])
        losses.append(divergence(*pair))
        seen.append(d)
        decided.append(is_hard)
    zero = student_logits.double().sum() * 0.0
    return (
        torch.tensor(seen, dtype=torch.float64),
        torch.tensor(decided),
        torch.stack(losses) if losses else zero.expand(0),
    )


def finite_difference(function, point, step=1e-5):
    """The gradient of a scalar function, one coordinate at a time, by central differences."""
    gradient = torch.zeros_like(point)
    flat, slope = point.reshape(-1), gradient.reshape(-1)
    for place in range(flat.numel()):
        kept = float(flat[place])
        flat[place] = kept + step
        above = float(function(point))
        flat[place] = kept - step
        below = float(function(point))
        flat[place] = kept
        slope[place] = (above - below) / (2 * step)
    return gradient


def entropy(row):
    return -math.fsum(p * math.log(p) for p in row.tolist() if p > 0)
