"""Ours, the dense reference, plain distillation by autograd, and what all of it must cost."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.contender import Contender, Work
from bench.problem import BETA, HARD_SHARE, TEACHER_WEIGHT, Problem
from sekd_plugin import SelfEvolutionKD, WordKD
from sekd_plugin.base_criterion import Criterion
from sekd_plugin.thresholds import FixedThreshold, TopKThreshold

_BOUND_BYTES = 64 * 2**20


def own_contenders() -> list[Contender]:
    """Everything that needs no one else's package."""
    found = []
    for job in ("logits", "linear"):
        for name, make, kernel in (
            ("dense", _fixed, "reference"),
            ("ours_fixed", _fixed, "auto"),
            ("ours_top_k", _top_k, "auto"),
            ("ours_word_kd", _word_kd, "auto"),
        ):
            found.append(
                Contender(
                    name=name,
                    job=job,
                    group="dense" if kernel == "reference" else "ours",
                    computes="KL + CE" if make is _word_kd else "method",
                    prepare=_with_criterion(make, kernel),
                )
            )
        for name, loss in (("plain", plain_loss), ("plain_shared", shared_loss)):
            found.append(
                Contender(
                    name=name,
                    job=job,
                    group="plain",
                    computes="KL + CE",
                    prepare=_by_autograd(loss),
                )
            )
    found += [
        Contender(
            name="bound_read_write", job="logits", group="bound", computes=None, prepare=_copy
        ),
        Contender(
            name="bound_products", job="linear", group="bound", computes=None, prepare=_matmul
        ),
    ]
    return found


def _fixed(problem: Problem) -> Criterion:
    threshold = FixedThreshold(gamma=problem.gamma)
    return SelfEvolutionKD(teacher_weight=TEACHER_WEIGHT, beta=BETA, threshold=threshold)


def _top_k(problem: Problem) -> Criterion:
    threshold = TopKThreshold(ratio=HARD_SHARE)
    return SelfEvolutionKD(teacher_weight=TEACHER_WEIGHT, beta=BETA, threshold=threshold)


def _word_kd(problem: Problem) -> Criterion:
    return WordKD(teacher_weight=TEACHER_WEIGHT)


def _with_criterion(make: Callable[[Problem], Criterion], kernel: str) -> Callable[[Problem], Work]:
    def prepare(problem: Problem) -> Work:
        criterion = make(problem)
        criterion.kernel = kernel

        def from_logits() -> None:
            criterion(
                problem.student_logits, problem.teacher_logits, problem.targets
            ).loss.backward()

        def from_hidden() -> None:
            criterion.forward_linear(
                problem.student_hidden,
                problem.student_weight,
                problem.teacher_hidden,
                problem.teacher_weight,
                problem.targets,
            ).loss.backward()

        # A validation pass observes nothing, which keeps round after round the same.
        criterion.eval()
        return from_hidden if problem.student_logits is None else from_logits

    return prepare


def plain_loss(student: Tensor, teacher: Tensor, targets: Tensor) -> Tensor:
    """KL and cross-entropy as one writes them with torch's own functions."""
    divergence = F.kl_div(F.log_softmax(student, -1), F.softmax(teacher, -1), reduction="sum")
    gold = F.cross_entropy(student, targets, reduction="sum")
    return TEACHER_WEIGHT * divergence + (1.0 - TEACHER_WEIGHT) * gold


def shared_loss(student: Tensor, teacher: Tensor, targets: Tensor) -> Tensor:
    """The same by one log-softmax and without the teacher's entropy: less work for autograd."""
    log_student = F.log_softmax(student, -1)
    cross = -torch.einsum("nv,nv->", F.softmax(teacher, -1), log_student)
    gold = F.nll_loss(log_student, targets, reduction="sum")
    return TEACHER_WEIGHT * cross + (1.0 - TEACHER_WEIGHT) * gold


def _by_autograd(loss: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Callable[[Problem], Work]:
    def prepare(problem: Problem) -> Work:
        def work() -> None:
            student, teacher = problem.student_logits, problem.teacher_logits
            if student is None:
                assert problem.student_hidden is not None and problem.student_weight is not None
                assert problem.teacher_hidden is not None and problem.teacher_weight is not None
                student = problem.student_hidden @ problem.student_weight.t()
                teacher = problem.teacher_hidden @ problem.teacher_weight.t()
            assert teacher is not None
            # As everyone does it whose models compute in half precision; else it changes nothing.
            loss(student.float(), teacher.float(), problem.targets).backward()

        return work

    return prepare


def _copy(problem: Problem) -> Work:
    def work() -> None:
        assert problem.student_logits is not None and problem.teacher_logits is not None
        torch.add(problem.student_logits.detach(), problem.teacher_logits)

    return work


def _matmul(problem: Problem) -> Work:
    """Both projections and the products of both gradients, a chunk of rows at a time."""

    def work() -> None:
        assert problem.student_hidden is not None and problem.student_weight is not None
        assert problem.teacher_hidden is not None and problem.teacher_weight is not None
        states, weight = problem.student_hidden.detach(), problem.student_weight.detach()
        by_weight = torch.zeros_like(weight)
        by_states = torch.empty_like(states)
        size = max(1, _BOUND_BYTES // (4 * weight.shape[0]))
        if states.is_cuda:
            size = states.shape[0]
        for start in range(0, states.shape[0], size):
            rows = slice(start, start + size)
            slope = states[rows] @ weight.t()
            torch.mm(problem.teacher_hidden[rows], problem.teacher_weight.t())
            torch.mm(slope, weight, out=by_states[rows])
            by_weight.addmm_(slope.t(), states[rows])

    return work
