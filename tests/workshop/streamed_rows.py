"""StreamedRows over given rows, whole or in shards, and its comparison with the definition."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from forward_kl_rows import exact

from sekd_plugin.kernels.streamed import StreamedRows

EVERY_WEIGHT_AND_SHARE = [
    {"teacher_weight": teacher_weight, "beta": beta}
    for teacher_weight in (1e-6, 0.5, 1.0)
    for beta in (0.0, 0.5, 0.9, 1.0)
]


def all_of_them(difficulty):
    return torch.ones_like(difficulty, dtype=torch.bool)


@dataclass(frozen=True)
class Settings:
    teacher_weight: float = 0.5
    beta: float = 0.5
    temperature: float = 1.0
    temperature_squared: bool = False


def every_second(difficulty):
    return torch.arange(difficulty.numel(), device=difficulty.device) % 2 == 1


def the_others(difficulty):
    return ~every_second(difficulty)


def streamed(passes, student, teacher, targets, settings, *, decide=every_second, out=None, **more):
    """What StreamedRows returns, and the gradient that it writes, by name."""
    gradient = torch.full_like(student, torch.nan) if out is None else out
    kernel = StreamedRows(Settings(**settings), passes, hard_scale=2.0, **more)
    found = kernel.losses(student, teacher, targets, decide, gradient)
    return {**vars(found), "gradient": gradient}


def defined(student, teacher, targets, settings, decide=every_second):
    hard = decide(targets)
    return {**exact(student, teacher, targets, hard, scale=2.0, **settings), "hard": hard}


ROUNDING = {
    torch.float64: (1e-9, 1e-12),
    torch.float32: (2e-6, 2e-6),
    torch.bfloat16: (4e-3, 2e-6),
    torch.float16: (5e-4, 2e-6),
}
"""How far a value may be off, relatively and absolutely, in each dtype."""


def expect_equal(found, expected, rounding=None):
    """Each value of ``found`` is the expected one, within the rounding of its dtype."""
    rounding = {**ROUNDING, **(rounding or {})}
    for name, value in expected.items():
        got = found[name]
        if got.dtype == torch.bool:
            assert torch.equal(got.cpu(), value.cpu()), name
            continue
        relative, absolute = rounding[got.dtype]
        torch.testing.assert_close(
            got.double().cpu(),
            value.double().cpu(),
            rtol=relative,
            atol=absolute,
            equal_nan=False,
            msg=lambda text, name=name: f"{name}: {text}",
        )
