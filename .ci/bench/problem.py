"""The tensors of a point, the same for every contender."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.settings import Point

TEACHER_WEIGHT = 0.5
"""λ of everything that mixes in the gold word."""

BETA = 0.9
"""β of the method."""

HARD_SHARE = 0.3
"""How many tokens are hard."""

_CHUNK_BYTES = 32 * 2**20


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Student, teacher and gold words; of the two forms of a model one is None."""

    targets: Tensor
    """``[n]``."""

    student_logits: Tensor | None = None
    """``[n, V]``, a leaf."""

    teacher_logits: Tensor | None = None
    """``[n, V]``."""

    student_hidden: Tensor | None = None
    """``[n, D]``, a leaf."""

    student_weight: Tensor | None = None
    """``[V, D]``, a leaf."""

    teacher_hidden: Tensor | None = None
    """``[n, D]``."""

    teacher_weight: Tensor | None = None
    """``[V, D]``."""

    difficulty: Tensor
    """``[n]`` d = D(ỹ ‖ q)."""

    gamma: float
    """Γ between two difficulties, so that :data:`HARD_SHARE` of the tokens are hard by it and by
    their rank alike."""

    @property
    def tokens(self) -> int:
        """n."""
        return self.targets.numel()

    @property
    def vocabulary(self) -> int:
        """V."""
        words = self.student_logits if self.student_logits is not None else self.student_weight
        assert words is not None
        return words.shape[-1] if words is self.student_logits else words.shape[0]

    @property
    def leaves(self) -> tuple[Tensor, ...]:
        """What a gradient is wanted by."""
        found = (self.student_logits, self.student_hidden, self.student_weight)
        return tuple(leaf for leaf in found if leaf is not None)

    @property
    def hard(self) -> Tensor:
        """``[n]`` bool."""
        return self.difficulty > self.gamma

    def logits_of(self, rows: slice | Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Some rows of the student's and the teacher's logits, without gradient."""
        if self.student_logits is not None and self.teacher_logits is not None:
            return self.student_logits.detach()[rows].to(dtype), self.teacher_logits[rows].to(dtype)
        assert self.student_hidden is not None and self.student_weight is not None
        assert self.teacher_hidden is not None and self.teacher_weight is not None
        student = self.student_hidden.detach()[rows].to(dtype)
        teacher = self.teacher_hidden[rows].to(dtype)
        return (
            student @ self.student_weight.detach().to(dtype).t(),
            teacher @ self.teacher_weight.to(dtype).t(),
        )


def make_problem(point: Point) -> Problem:
    """Draw a teacher, a student that resembles it, and gold words that it mostly puts first."""
    device, dtype = torch.device(point.device), getattr(torch, point.dtype)
    draw = torch.Generator(device).manual_seed(point.seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw, device=device, dtype=dtype)

    n, size, width = point.tokens, point.vocabulary, point.hidden
    parts: dict[str, Tensor] = {}
    if point.job == "logits":
        parts["teacher_logits"] = normal(n, size).mul_(2.5)
        student = normal(n, size).mul_(1.2)
        for rows in _chunks(n, size):
            student[rows] += 0.7 * parts["teacher_logits"][rows]
        parts["student_logits"] = student.requires_grad_()
    else:
        parts["teacher_hidden"] = normal(n, width)
        parts["teacher_weight"] = normal(size, width).mul_(2.5 / width**0.5)
        states = parts["teacher_hidden"] + 0.4 * normal(n, width)
        weight = 0.7 * parts["teacher_weight"] + normal(size, width).mul_(0.8 / width**0.5)
        parts["student_hidden"] = states.requires_grad_()
        parts["student_weight"] = weight.requires_grad_()
    targets = torch.randint(size, (n,), generator=draw, device=device)
    unknown = torch.zeros(n, device=device)
    made = Problem(targets=targets, difficulty=unknown, gamma=0.0, **parts)
    believed = torch.rand(n, generator=draw, device=device) < 0.7
    for rows in _chunks(n, size):
        _, teacher = made.logits_of(rows, torch.float32)
        targets[rows] = torch.where(believed[rows], teacher.argmax(-1), targets[rows])
        unknown[rows] = difficulty(made, rows)
    return Problem(targets=targets, difficulty=unknown, gamma=_gamma(unknown), **parts)


def difficulty(problem: Problem, rows: slice) -> Tensor:
    """d of some tokens, as the method defines it."""
    student, teacher = problem.logits_of(rows, torch.float32)
    target = teacher.softmax(-1).mul_(TEACHER_WEIGHT)
    gold = problem.targets[rows].unsqueeze(-1)
    target.scatter_add_(-1, gold, torch.full_like(gold, 1.0 - TEACHER_WEIGHT, dtype=target.dtype))
    log_student = student.log_softmax(-1)
    return (torch.special.xlogy(target, target) - target * log_student).sum(-1)


def _chunks(tokens: int, vocabulary: int) -> Iterator[slice]:
    size = max(1, _CHUNK_BYTES // (4 * vocabulary))
    for start in range(0, tokens, size):
        yield slice(start, min(start + size, tokens))


def _gamma(values: Tensor) -> float:
    ordered = values.double().sort(descending=True).values
    count = int(HARD_SHARE * values.numel() + 0.5)
    if count == 0 or count == values.numel():
        return float("inf") if count == 0 else float(ordered[-1]) - 1.0
    return float(ordered[count - 1 : count + 1].mean())
