"""The distributions of the method, as log-probabilities over rows ``[n, V]``.

Everything stays in log space: a probability of zero is ``-inf``, nothing is clamped and no
epsilon is added, and where an operation meets ``-inf`` its gradient is a number, not NaN.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def log_probabilities(logits: Tensor, temperature: float) -> Tensor:
    """The model's distribution: log softmax(z / T).

    Args:
        logits: z, ``[n, V]``, any floating dtype; bf16 and fp16 are computed in fp32.
        temperature: T > 0.

    Returns:
        ``[n, V]``, fp32 or wider.
    """
    rows = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if temperature != 1.0:
        rows = rows / temperature
    return torch.log_softmax(rows, dim=-1)


def undefined_rows(logits: Tensor) -> Tensor:
    """Which rows of logits are no distribution: they hold NaN or +inf, or nothing but −inf.

    Args:
        logits: ``[..., V]``, any floating dtype.

    Returns:
        ``[...]`` bool.
    """
    return ~torch.isfinite(logits.detach().amax(dim=-1))


def negative_entropy(log_p: Tensor) -> Tensor:
    """How certain a distribution is: Σ p·log p, in nats.

    Args:
        log_p: log p, ``[..., V]``; ``-inf`` adds nothing.

    Returns:
        ``[...]``, from −log V to 0.
    """
    return (log_p.exp() * log_p.masked_fill(torch.isneginf(log_p), 0.0)).sum(dim=-1)


def log_self_target(log_teacher: Tensor, targets: Tensor, teacher_weight: float) -> Tensor:
    """The target that teacher and gold form together: log ỹ, ỹ = (1 − λ)·y + λ·p.

    Args:
        log_teacher: log p, ``[n, V]``.
        targets: the gold ids of y, ``[n]``, int64.
        teacher_weight: λ in [0, 1].

    Returns:
        ``[n, V]``; arXiv 2412.15303, section 3.
    """
    gold = targets.unsqueeze(-1)
    if teacher_weight == 0.0:
        return torch.full_like(log_teacher, -math.inf).scatter(-1, gold, 0.0)
    if teacher_weight == 1.0:
        return log_teacher
    shared = log_teacher + math.log(teacher_weight)
    own = shared.new_tensor(math.log1p(-teacher_weight))
    return shared.scatter(-1, gold, _log_sum(shared.gather(-1, gold), own))


def log_one_hot(targets: Tensor, like: Tensor) -> Tensor:
    """The gold translation alone: log y, ``[n, V]``, shaped and typed as ``like``."""
    return torch.full_like(like, -math.inf).scatter(-1, targets.unsqueeze(-1), 0.0)


def log_mixture(log_first: Tensor, log_second: Tensor, weight: float) -> Tensor:
    """The linear mixture: log(w·a + (1 − w)·b).

    Args:
        log_first: log a, ``[n, V]``.
        log_second: log b, ``[n, V]``.
        weight: w in [0, 1]; 1 gives exactly a, and 0 exactly b.

    Returns:
        ``[n, V]``; ``-inf`` where both are zero, with a zero gradient there.
    """
    if weight == 1.0:
        return log_first
    if weight == 0.0:
        return log_second
    neither = torch.isneginf(log_first) & torch.isneginf(log_second)
    first = log_first.masked_fill(neither, 0.0) + math.log(weight)
    second = log_second.masked_fill(neither, 0.0) + math.log1p(-weight)
    return _log_sum(first, second).masked_fill(neither, -math.inf)


def through_mixture(
    log_first: Tensor, log_mixed: Tensor, weight: float, gradient: Tensor
) -> Tensor:
    """From a gradient by the linear mixture to that by its first part.

    Formula:
        ∂/∂log a = (w·a / m)·∂/∂log m, with m = w·a + (1 − w)·b

    Args:
        log_first: log a, ``[n, V]``.
        log_mixed: log m, ``[n, V]``, as :func:`log_mixture` gives it.
        weight: w in [0, 1].
        gradient: ∂/∂log m, ``[n, V]``, finite.

    Returns:
        ``[n, V]``; zero where a is.
    """
    if weight == 0.0:
        return torch.zeros_like(gradient)
    ratio = (log_first - log_mixed).exp_().nan_to_num_(nan=0.0)  # 0 / 0 where neither is possible
    return ratio.mul_(gradient).mul_(weight)


def _log_sum(log_first: Tensor, log_second: Tensor) -> Tensor:
    """log(a + b), of which one may be zero but not both.

    Not ``torch.logaddexp``: on a CPU the last elements of a tensor take another path through it
    than the others, so a row's last digit would depend on how many rows stand beside it.
    """
    greater = torch.maximum(log_first, log_second)
    less = torch.minimum(log_first, log_second)
    return greater + torch.log1p(torch.exp(less - greater))


def log_geometric_mixture(log_first: Tensor, log_second: Tensor, weight: float) -> Tensor:
    """The log-linear mixture: log(a^w · b^(1 − w) / Z), normalised over the vocabulary.

    Args:
        log_first: log a, ``[n, V]``.
        log_second: log b, ``[n, V]``.
        weight: w in [0, 1]; 1 gives exactly a, and 0 exactly b.

    Returns:
        ``[n, V]``; ``-inf`` wherever a or b is zero.
    """
    if weight == 1.0:
        return log_first
    if weight == 0.0:
        return log_second
    return torch.log_softmax(weight * log_first + (1.0 - weight) * log_second, dim=-1)
