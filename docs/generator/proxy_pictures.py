"""How hard each proxy pulls at the gold word, by how much the student believes in it."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from chart import REFERENCE, STYLES, chart_style, panels, svg

from sekd_plugin import SelfEvolutionKD, proxies

BETAS = (0.5, 0.9)
TARGET = 0.9
"""ỹ of the gold word: λ = 0.5 with a teacher that gives it 0.8."""

VARIANTS: Mapping[str, Mapping[str, object]] = {"linear, rescale": {"rescale": True}}
"""Settings worth a curve of their own, beside each proxy's defaults."""


def curves() -> dict[str, str | dict[str, object]]:
    """Label → the proxy as a recipe writes it."""
    found: dict[str, str | dict[str, object]] = {}
    for name in proxies.names():
        found[name] = name
        for label, config in VARIANTS.items():
            if label.startswith(f"{name},"):
                found[label] = {"name": name, "config": dict(config)}
    return found


def pull_on_gold(
    proxy: str | Mapping[str, object], beta: float, student: torch.Tensor, *, hard: bool = True
) -> torch.Tensor:
    """−∂loss/∂z of the gold logit over two words, by the criterion and autograd.

    Args:
        proxy: as a recipe writes it.
        beta: β.
        student: q of the gold word, ``[n]`` float64, inside (0, 1).
        hard: whether the tokens are hard; an easy one does not see the proxy.
    """
    gamma = 0.0 if hard else math.inf
    criterion = SelfEvolutionKD(
        teacher_weight=0.5,
        beta=beta,
        threshold={"name": "fixed", "config": {"gamma": gamma}},
        proxy=proxy,
    )
    teacher = 2.0 * TARGET - 1.0
    teacher_logits = torch.tensor([teacher, 1.0 - teacher], dtype=torch.float64).log()
    logits = torch.stack([student.log(), torch.log1p(-student)], dim=-1).requires_grad_()
    gold = torch.zeros(student.numel(), dtype=torch.long)
    criterion(logits, teacher_logits.expand_as(logits), gold).loss.backward()
    assert logits.grad is not None
    return -logits.grad[:, 0]


def proxy_picture() -> str:
    """The SVG: a panel for each β, a curve for each proxy, the easy token's in grey."""
    student = torch.logspace(-5, math.log10(TARGET), 200, dtype=torch.float64)
    with chart_style():
        figure, axes = panels(1, len(BETAS), 8.6, 3.4)
        for panel, beta in zip(axes, BETAS, strict=True):
            easy = pull_on_gold("linear", beta, student, hard=False)
            panel.plot(student, easy, color=REFERENCE, linewidth=4.0, label="an easy token")
            for (color, dashes), (label, proxy) in zip(STYLES, curves().items(), strict=False):
                pull = pull_on_gold(proxy, beta, student)
                panel.plot(student, pull, color=color, linestyle=dashes, label=label)
            panel.set(
                xscale="log",
                title=f"β = {beta:g}, ỹ = (0.9, 0.1)",
                xlabel="q_y: what the student believes of the gold word",
            )
            panel.set_xticks([1e-5, 1e-4, 1e-3, 1e-2, 0.1, 0.9])
            panel.set_xticklabels(["0.00001", "0.0001", "0.001", "0.01", "0.1", "0.9"], fontsize=8)
            panel.minorticks_off()
        axes[0].set_ylabel("pull upwards on the gold logit")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=8)
        return svg(figure)
