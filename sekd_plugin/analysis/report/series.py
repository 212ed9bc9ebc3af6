"""How a series looks: told apart by colour, dash and marker, each sufficient alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sekd_plugin.analysis.report.markup import Markup, tag

DASHES = (None, "7 4", "2 3", "10 3 2 3", "4 2")
NUM_STYLES = len(DASHES)


@dataclass(frozen=True, kw_only=True)
class Series:
    """A named line."""

    name: str
    """What the legend and the hover titles call it."""

    points: Sequence[tuple[float, float]]
    """(x, y), by rising x."""

    style: int
    """Which colour, dash and marker; those of a system are the same in every chart."""

    faint: bool = False
    """Drawn thin and pale, without markers."""


def marker(style: int, x: float, y: float, *children: str) -> Markup:
    """Circle, square, triangle, diamond or tipped triangle around (x, y)."""
    kind = style % NUM_STYLES
    look = f"marker s{kind}"
    if kind == 0:
        return tag("circle", *children, cx=x, cy=y, r=3.2, class_=look)
    if kind == 1:
        return tag("rect", *children, x=x - 2.9, y=y - 2.9, width=5.8, height=5.8, class_=look)
    shapes: dict[int, list[tuple[float, float]]] = {
        2: [(0, -4), (3.6, 3), (-3.6, 3)],
        3: [(0, -4.2), (4.2, 0), (0, 4.2), (-4.2, 0)],
        4: [(0, 4), (3.6, -3), (-3.6, -3)],
    }
    corners = " ".join(f"{x + dx:.2f},{y + dy:.2f}" for dx, dy in shapes[kind])
    return tag("polygon", *children, points=corners, class_=look)


def legend(series: Sequence[Series]) -> Markup:
    """The names with a sample of each line."""
    entries = [tag("li", sample(each.style, faint=each.faint), each.name) for each in series]
    return tag("ul", *entries, class_="legend")


def sample(style: int, *, faint: bool = False) -> Markup:
    """A short piece of a line, to stand beside its name."""
    kind = style % NUM_STYLES
    line = tag(
        "line",
        x1=0,
        y1=6,
        x2=30,
        y2=6,
        class_=f"line s{kind}" + (" faint" if faint else ""),
        stroke_dasharray=DASHES[kind],
    )
    parts = (line,) if faint else (line, marker(style, 15.0, 6.0))
    return tag("svg", *parts, viewBox="0 0 30 12", width=30, height=12, aria_hidden="true")
