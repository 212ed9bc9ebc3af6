"""Others' losses, each as its own code computes it."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, distribution, version
from types import ModuleType
from typing import Any

from bench.contender import Contender, Work
from bench.problem import TEACHER_WEIGHT, Problem

PACKAGES = ("liger-kernel", "torchtune", "trl")
_CHUNKS = 8  # torchtune's default


def peer_versions() -> dict[str, str]:
    """Package → version, or ``absent``."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found


def peer_contenders() -> list[Contender]:
    """All that is known of; preparing one fails where its package is missing."""
    logits: dict[str, Any] = {"job": "logits", "group": "peer"}
    linear: dict[str, Any] = {"job": "linear", "group": "peer"}
    found = [
        Contender(name="torchtune_kl", computes="KL", mean=True, prepare=_torchtune(1.0), **logits),
        Contender(
            name="torchtune_kl_ce",
            computes="KL + CE",
            mean=True,
            prepare=_torchtune(TEACHER_WEIGHT),
            **logits,
        ),
        Contender(name="trl_kl", computes="KL", prepare=_trl_kl, **linear),
    ]
    for name, objective, prepare in (
        ("liger_triton_kl_given", "KL", _liger_triton_kl),
        ("liger_triton_kl", "KL", _liger_triton_jsd(0.0)),
        ("liger_triton_jsd", "JSD", _liger_triton_jsd(0.5)),
    ):
        found.append(
            Contender(
                name=name,
                computes=objective,
                mean=True,
                devices=("cuda",),
                prepare=prepare,
                **linear,
            )
        )
    for name, objective, beta, gold, compiled in (
        ("liger_kl", "KL", 0.0, 0.0, False),
        ("liger_kl_compiled", "KL", 0.0, 0.0, True),
        ("liger_kl_ce", "KL + CE", 0.0, 1.0 - TEACHER_WEIGHT, False),
        ("liger_jsd", "JSD", 0.5, 0.0, False),
        ("liger_jsd_compiled", "JSD", 0.5, 0.0, True),
    ):
        found.append(
            Contender(
                name=name,
                computes=objective,
                mean=True,
                compiles=compiled,
                prepare=_liger(beta, gold, compiled),
                **linear,
            )
        )
    return found


def _torchtune(share: float) -> Callable[[Problem], Work]:
    """Its losses over lists of chunks, mixed as its own distillation recipe mixes them."""

    def prepare(problem: Problem) -> Work:
        divergence = _torchtune_file("kd_losses").ForwardKLWithChunkedOutputLoss(_CHUNKS)
        gold = _torchtune_file("ce_chunked_output_loss").CEWithChunkedOutputLoss(_CHUNKS)
        labels = problem.targets.unsqueeze(0)

        def work() -> None:
            assert problem.student_logits is not None and problem.teacher_logits is not None
            student = problem.student_logits.unsqueeze(0).chunk(_CHUNKS, dim=1)
            teacher = problem.teacher_logits.unsqueeze(0).chunk(_CHUNKS, dim=1)
            loss = share * divergence(list(student), list(teacher), labels)
            if share < 1.0:
                loss = loss + (1.0 - share) * gold(list(student), labels)
            loss.backward()

        return work

    return prepare


def _torchtune_file(name: str) -> ModuleType:
    """One file of the installed package, which needs torch alone.

    The package as a whole imports torchao, torchdata, omegaconf and others, of which its losses
    use nothing.
    """
    place = distribution("torchtune").locate_file(f"torchtune/modules/loss/{name}.py")
    spec = importlib.util.spec_from_file_location(f"torchtune_{name}", str(place))
    if spec is None or spec.loader is None:
        raise ImportError(f"no {place}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _linear_inputs(problem: Problem) -> tuple[Any, Any, Any, Any]:
    return (
        problem.student_hidden,
        problem.student_weight,
        problem.teacher_hidden,
        problem.teacher_weight,
    )


def _liger(beta: float, gold: float, compiled: bool) -> Callable[[Problem], Work]:
    def prepare(problem: Problem) -> Work:
        chunked = importlib.import_module("liger_kernel.chunked_loss")
        loss = chunked.LigerFusedLinearJSDLoss(
            weight_hard_loss=gold, weight_soft_loss=1.0 - gold, beta=beta, compiled=compiled
        )
        return lambda: loss(*_linear_inputs(problem), problem.targets).backward()

    return prepare


def _liger_triton_kl(problem: Problem) -> Work:
    """It takes the teacher's probabilities: forming them from its hidden states is part of it."""
    module = importlib.import_module("liger_kernel.transformers.fused_linear_kl_div")
    loss = module.LigerFusedLinearKLDivLoss()

    def work() -> None:
        student, weight, teacher, teacher_weight = _linear_inputs(problem)
        loss(student, weight, (teacher @ teacher_weight.t()).softmax(-1)).backward()

    return work


def _liger_triton_jsd(beta: float) -> Callable[[Problem], Work]:
    def prepare(problem: Problem) -> Work:
        module = importlib.import_module("liger_kernel.transformers.fused_linear_jsd")
        loss = module.LigerFusedLinearJSD(jsd_beta=beta)
        return lambda: loss(*_linear_inputs(problem), None).backward()

    return prepare


def _trl_kl(problem: Problem) -> Work:
    kernels = importlib.import_module("trl.kernels.chunked_divergence")
    compute = kernels.ChunkedDivergenceFunction.apply

    def work() -> None:
        student, weight, teacher, teacher_weight = _linear_inputs(problem)
        rows, _ = compute(student, weight, None, teacher, teacher_weight, None, 0.0)
        rows.sum().backward()

    return work
