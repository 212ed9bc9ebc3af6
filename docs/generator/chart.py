"""How every picture of the site looks, and how it becomes SVG.

Curves differ in dashes as well as in colour; the colours are those of Okabe and Ito, which the
colour-blind tell apart. The background is opaque and light, so that a dark page changes nothing.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Dashes = str | tuple[int, tuple[int, ...]]

STYLES: tuple[tuple[str, Dashes], ...] = (
    ("#0072B2", "solid"),
    ("#D55E00", (0, (6, 2))),
    ("#009E73", (0, (2, 2))),
    ("#CC79A7", (0, (8, 2, 2, 2))),
    ("#000000", (0, (1, 1))),
)
"""Colour and dashes of the first curve, the second, and so on."""

REFERENCE = "#9A9A9A"
"""The grey of what is there to compare with."""

_SETTINGS: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "sekd",
    "font.family": "sans-serif",
    "font.size": 9.0,
    "figure.facecolor": "#FFFFFF",
    "axes.facecolor": "#FFFFFF",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
}


@contextmanager
def chart_style() -> Iterator[None]:
    """Draw in the look of the site."""
    with matplotlib.rc_context(_SETTINGS):
        yield


def svg(figure: Figure) -> str:
    """The figure as SVG, the same text every time."""
    with chart_style():
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return text.getvalue()


def panels(rows: int, columns: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """A figure and its panels, row by row; it belongs to no window."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, [figure.add_subplot(rows, columns, place + 1) for place in range(rows * columns)]
