"""Gradients from outside: finite differences, and what autograd gives."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sekd_plugin.testing.laws import BreachError

STEP = 1e-6

RowFunction = Callable[[Tensor], Tensor]


def autograd_rows(function: RowFunction, logits: Tensor) -> Tensor:
    """The gradient of each row's value by its own logits: ``[n, V]``; zero where none flows."""
    leaf = logits.detach().clone().requires_grad_()
    value = function(leaf)
    if not value.requires_grad:
        return torch.zeros_like(leaf)
    (gradient,) = torch.autograd.grad(value.sum(), leaf, allow_unused=True)
    return torch.zeros_like(leaf) if gradient is None else gradient


def expect_slope(function: RowFunction, logits: Tensor, gradient: Tensor, what: str) -> None:
    """Raise a BreachError unless ``gradient`` is the slope of ``function`` in float64.

    At a kink any number between the slopes on its two sides will do.

    Args:
        function: rows ``[n, V]`` of float64 logits → ``[n]``, each row by itself.
        logits: ``[n, V]``, float64.
        gradient: ``[n, V]``, the claim.
        what: what it is the gradient of, for the report.
    """
    here = function(logits).detach()
    for word in range(logits.shape[-1]):
        move = torch.zeros_like(logits)
        move[:, word] = STEP
        forward = (function(logits + move).detach() - here) / STEP
        backward = (here - function(logits - move).detach()) / STEP
        low, high = torch.minimum(forward, backward), torch.maximum(forward, backward)
        claimed = gradient[:, word]
        slack = 1e-5 + 1e-4 * torch.maximum(low.abs(), high.abs()) + 1e-8 * here.abs()
        # Written so that NaN counts as broken.
        broken = ~((claimed >= low - slack) & (claimed <= high + slack)) & torch.isfinite(here)
        # A word without probability stays so: there is no slope to measure.
        broken &= torch.isfinite(logits[:, word])
        if bool(broken.any()):
            row = int(broken.nonzero()[0])
            slope = float((low[row] + high[row]) / 2)
            raise BreachError(
                f"{float(claimed[row])!r}  ({what} [{row}, {word}])",
                f"{slope!r} by finite differences",
            )
