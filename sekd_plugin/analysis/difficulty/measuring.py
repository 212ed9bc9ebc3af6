"""From logits to what is measured of each token: the criterion's own code, a chunk at a time."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from sekd_plugin.analysis.difficulty.token_table import Likely, TokenTable
from sekd_plugin.criterion import SelfEvolutionKD
from sekd_plugin.distributions import log_probabilities, negative_entropy
from sekd_plugin.divergences import Divergence
from sekd_plugin.rows import shared_vocabulary

LISTED = 5
"""How many of a model's likeliest words are kept of a token."""


@torch.no_grad()
def measure(
    criterion: SelfEvolutionKD,
    others: Mapping[str, Divergence],
    main: str,
    student_logits: Tensor,
    teacher_logits: Tensor,
    targets: Tensor,
) -> TokenTable:
    """Measure a chunk of rows.

    Formula:
        d = D(ỹ ‖ q) with the criterion's λ and T, once with its own D, the self-question, and once
        with each of the others; p and q are those at T, too

    Args:
        criterion: what is asked how difficult a token is.
        others: more divergences, by the name they are shown under.
        main: the name that the criterion's own difficulty is shown under.
        student_logits: ``[n, V]``.
        teacher_logits: ``[n, V']``, V' ≥ V; its first V words are used.
        targets: ``[n]`` gold ids.

    Raises:
        ValueError: the teacher has fewer words than the student.
    """
    size = student_logits.shape[-1]
    teacher_logits = teacher_logits[:, : shared_vocabulary(teacher_logits.shape[-1], size)]
    log_target, log_student = criterion.distributions(
        student_logits, teacher_logits if criterion.needs_teacher else None, targets
    )
    difficulty = {main: criterion.self_question(log_target, log_student)}
    for name, divergence in others.items():
        difficulty[name] = divergence(log_target, log_student)
    del log_target
    log_teacher = log_probabilities(teacher_logits, criterion.temperature)
    return TokenTable(
        difficulty={name: _kept(values) for name, values in difficulty.items()},
        entropy=_kept(-negative_entropy(log_teacher)),
        teacher=_likely(log_teacher, targets),
        student=_likely(log_student, targets),
    )


def _likely(log_p: Tensor, targets: Tensor) -> Likely:
    found, words = log_p.topk(min(LISTED, log_p.shape[-1]), dim=-1)
    return Likely(
        words=words.to(torch.int32).cpu(),
        probabilities=_kept(found.exp()),
        log_gold=_kept(log_p.gather(-1, targets.unsqueeze(-1)).squeeze(-1)),
    )


def _kept(values: Tensor) -> Tensor:
    """As it is kept: on the CPU, so that no device fills up with a corpus."""
    return values.to(torch.float32).cpu()
