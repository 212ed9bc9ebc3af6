"""Nobody is timed doing the wrong thing: gradients against the objectives in float64."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.contender import Contender, clear_gradients
from bench.objectives import OBJECTIVES, RowLoss
from bench.problem import Problem

# Largest error as a share of the largest element.
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 5e-2, torch.float16: 1e-2}
_SAMPLED_ROWS = 8


class WrongGradientError(Exception):
    """A contender's gradient is not that of what it is said to compute."""


def check_whole(contender: Contender, problem: Problem) -> float:
    """Compare all gradients at a small size; the largest error.

    Raises:
        WrongGradientError: it is larger than rounding explains.
    """
    if contender.computes is None:
        return 0.0
    clear_gradients(problem)
    contender.prepare(problem)()
    found = [leaf.grad for leaf in problem.leaves]
    clear_gradients(problem)
    scale = 1.0 / problem.tokens if contender.mean else 1.0
    truth = _gradients(problem, OBJECTIVES[contender.computes])
    return max(
        _compare(contender, each, right * scale, leaf.dtype)
        for each, right, leaf in zip(found, truth, problem.leaves, strict=True)
    )


def check_sample(contender: Contender, problem: Problem) -> float:
    """Compare the gradient of a few rows at full size, where a run has just left it.

    Raises:
        WrongGradientError: as above.
    """
    if contender.computes is None:
        return 0.0
    leaf = problem.leaves[0]
    rows = torch.linspace(0, problem.tokens - 1, min(_SAMPLED_ROWS, problem.tokens)).long()
    rows = rows.to(leaf.device)
    student, teacher = problem.logits_of(rows, torch.float64)
    slope = _slope(problem, rows, student, teacher, OBJECTIVES[contender.computes])
    if problem.student_weight is not None:
        slope = slope @ problem.student_weight.detach().double()
    if contender.mean:
        slope = slope / problem.tokens
    return _compare(contender, None if leaf.grad is None else leaf.grad[rows], slope, leaf.dtype)


def _gradients(problem: Problem, objective: RowLoss) -> list[Tensor]:
    rows = torch.arange(problem.tokens, device=problem.targets.device)
    student, teacher = problem.logits_of(rows, torch.float64)
    slope = _slope(problem, rows, student, teacher, objective)
    if problem.student_hidden is None or problem.student_weight is None:
        return [slope]
    by_hidden = slope @ problem.student_weight.detach().double()
    return [by_hidden, slope.t() @ problem.student_hidden.detach().double()]


def _slope(
    problem: Problem, rows: Tensor, student: Tensor, teacher: Tensor, objective: RowLoss
) -> Tensor:
    student = student.requires_grad_()
    losses = objective(student, teacher, problem.targets[rows], problem.hard[rows])
    (slope,) = torch.autograd.grad(losses.sum(), student)
    return slope


def _compare(
    contender: Contender, found: Tensor | None, truth: Tensor, dtype: torch.dtype
) -> float:
    if found is None:
        raise WrongGradientError("it left no gradient")
    error = float((found.double() - truth).abs().max() / truth.abs().max())
    if not error <= TOLERANCE[dtype]:
        raise WrongGradientError(
            f"its gradient is off by {error:.1e} of its largest element from that of "
            f"'{contender.computes}'; {TOLERANCE[dtype]:.0e} is allowed"
        )
    return error
