"""Forward KL with the linear proxy in float64, and rows that strain a kernel.

Nothing is arranged as the package's kernels arrange it; zeros and infinities are allowed.
"""

from __future__ import annotations

import math

import torch

NO = -math.inf


def divergence(first, log_second):
    """Σ a·(log a − log b), where nothing times anything is nothing."""
    return torch.where(first > 0, first * (first.log() - log_second), 0.0).sum(-1)


def exact(student, teacher, targets, hard, *, teacher_weight, beta, temperature=1.0, scale=1.0):
    """Difficulty, loss, gradient, cross-entropy and agreement of rows; ``hard`` is given.

    ``scale`` multiplies loss and gradient of hard rows.
    """
    student, teacher = student.double(), teacher.double()
    log_q = torch.log_softmax(student / temperature, -1)
    q = log_q.exp()
    p = torch.softmax(teacher / temperature, -1)
    one_hot = torch.nn.functional.one_hot(targets, q.shape[-1]).double()
    target = (1 - teacher_weight) * one_hot + teacher_weight * p
    difficulty = divergence(target, log_q)
    proxy = beta * q + (1 - beta) * target
    hard_loss = difficulty if beta == 1 else divergence(target, proxy.log())
    ratio = torch.where(target > 0, target / proxy, 0.0)
    pull = torch.where(q > 0, q * ratio, target if beta == 1 else 0.0)
    slope = -beta * (pull - q * pull.sum(-1, keepdim=True))
    gold = torch.log_softmax(student, -1).gather(-1, targets[:, None]).squeeze(-1)
    first = (student == student.amax(-1, keepdim=True)) & (
        teacher == teacher.amax(-1, keepdim=True)
    )
    return {
        "difficulty": difficulty,
        "token_loss": torch.where(hard, scale * hard_loss, difficulty),
        "gradient": torch.where(hard[:, None], scale * slope, q - target) / temperature,
        "cross_entropy": -gold,
        "agreement": first.any(-1),
    }


def straining_rows(words, dtype):
    """Student, teacher ``[n, V]`` and gold ids that a careless kernel gets wrong."""
    generator = torch.Generator().manual_seed(words)

    def noise(size=3.0):
        return size * torch.randn(words, generator=generator)

    def only(word, value=0.0, other=NO):
        row = torch.full((words,), other)
        row[word] = value
        return row

    def without(row, *banned):
        row = row.clone()
        row[list(banned)] = NO
        return row

    last, middle = words - 1, words // 2
    like = noise()
    rows = [
        (noise(), noise(), last),
        (noise(10.0), noise(10.0), 0),
        (like, like + noise(1e-3), middle),
        (like, like + 7.0, 0),
        (torch.zeros(words), torch.full((words,), 2.0), middle),
        (torch.zeros(words), only(last, 20.0, 0.0), last),
        (only(last, 1e4, -1e4), only(middle, 1e4, -1e4), middle),
        (1e4 * noise().sign(), 1e4 * noise().sign(), last),
        (noise(), only(middle), middle),
        (only(last), only(last), last),
    ]
    if words > 2:
        rows += [
            # The teacher holds one word possible, which is not gold.
            (noise(), only(0), last),
            # Words that neither holds possible.
            (without(noise(), 0, middle), without(noise(), 0, middle), last),
            # The student holds words impossible of which the teacher has some mass, or none: the
            # greatest of its first words, when it has seen no others.
            (without(noise(), 1), noise(), last),
            (without(noise(), 0, 1), only(last, 0.0, -1e4), last),
            (without(noise(), 0), without(noise() - 2e3, 0) + only(last, 4e3, 0.0), last),
            # A word of which fp32 has the least of all numbers for the teacher, 0 for the student.
            (noise() + only(0, -1e4, 0.0), only(last, 102.6, 0.0), last),
            # The student holds gold impossible.
            (without(noise(), last), noise(), last),
        ]
    student, teacher, targets = zip(*rows, strict=True)
    return torch.stack(student).to(dtype), torch.stack(teacher).to(dtype), torch.tensor(targets)
