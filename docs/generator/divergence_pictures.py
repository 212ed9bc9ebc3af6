"""Each divergence's value and gradient over two words, drawn and measured."""

from __future__ import annotations

import math

import torch
from chart import REFERENCE, STYLES, chart_style, panels, svg
from component_sections import built_in
from matplotlib.axes import Axes
from two_words import at, two_word_curve

from sekd_plugin import Divergence, divergences
from sekd_plugin.divergences import ForwardKL

TARGETS = (0.9, 0.5, 1.0)
"""ỹ of the first word; the last is the gold word alone."""

_TICKS = (0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999)
_HIGHEST_VALUE = 4.0
_STEEPEST = 1.6


def divergence_picture(name: str) -> str:
    """The SVG of one divergence with its default settings."""
    divergence = divergences.create(name, "divergence")
    logits = torch.linspace(-8.0, 8.0, 401, dtype=torch.float64)
    with chart_style():
        figure, (value, gradient) = panels(1, 2, 8.6, 3.0)
        known = two_word_curve(ForwardKL(), TARGETS[0], logits)
        if not isinstance(divergence, ForwardKL):
            label = "forward_kl, ỹ = (0.9, 0.1)"
            value.plot(logits, known.value, color=REFERENCE, linewidth=3.0, label=label)
            gradient.plot(logits, known.gradient, color=REFERENCE, linewidth=3.0)
        for (color, dashes), target in zip(STYLES, TARGETS, strict=False):
            if target == 1.0 and divergence.infinite_on_zero_target:
                continue
            curve = two_word_curve(divergence, target, logits)
            label = f"ỹ = ({target:g}, {1.0 - target:g})"
            value.plot(logits, curve.value, color=color, linestyle=dashes, label=label)
            gradient.plot(logits, curve.gradient, color=color, linestyle=dashes)
        value.set(title=f"{name}: D(ỹ ‖ q)", ylim=(-0.1, _top(value)))
        gradient.set(title="its gradient, ∂D/∂z of the first word's logit", ylim=_span(gradient))
        gradient.axhline(0.0, color="#606060", linewidth=0.8)
        value.legend(fontsize=8)
        for panel in (value, gradient):
            panel.set_xlabel("q of the first word")
            panel.set_xticks(
                [math.log(q / (1.0 - q)) for q in _TICKS], [f"{q:g}" for q in _TICKS], fontsize=8
            )
        return svg(figure)


def measured_table() -> str:
    """A Markdown table of what tells divergences apart, computed from the classes."""
    lines = [
        "| divergence | against the gold word alone | symmetric | D at q_y = 10⁻⁶ "
        "| its pull on the gold logit there | and at q_y = 0.6 |",
        "|---|---|---|---|---|---|",
    ]
    for name in (entry.name for entry in built_in("divergence")):
        divergence = divergences.create(name, "divergence")
        value, gradient = at(divergence, 0.9, 1e-6)
        _, near = at(divergence, 0.9, 0.6)
        one_hot = "infinite" if divergence.infinite_on_zero_target else "finite"
        symmetric = "yes" if is_symmetric(divergence) else "no"
        lines.append(
            f"| [`{name}`](#{name}) | {one_hot} | {symmetric} | {value:.2f} "
            f"| {_short(-gradient)} | {_short(-near)} |"
        )
    return "\n".join(lines)


def is_symmetric(divergence: Divergence) -> bool:
    """Whether D(a ‖ b) = D(b ‖ a), on rows drawn at random."""
    draw = torch.Generator().manual_seed(1)
    logits = torch.randn(2, 16, 7, generator=draw, dtype=torch.float64)
    first, second = torch.log_softmax(logits, dim=-1)
    return torch.allclose(divergence(first, second), divergence(second, first), rtol=1e-9)


def _short(number: float) -> str:
    return f"{number:.3f}" if abs(number) >= 0.0005 else f"{number:.0e}"


def _top(panel: Axes) -> float:
    return min(panel.get_ylim()[1], _HIGHEST_VALUE)


def _span(panel: Axes) -> tuple[float, float]:
    low, high = panel.get_ylim()
    return max(low, -_STEEPEST), min(high, _STEEPEST)
