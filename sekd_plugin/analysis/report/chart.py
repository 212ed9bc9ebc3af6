"""The frame that all charts share: axes, grid, labels, caption."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sekd_plugin.analysis.report.markup import Markup, join, tag
from sekd_plugin.analysis.report.scale import Scale, tick_text, ticks

WIDTH, HEIGHT = 480.0, 290.0
LEFT, RIGHT, TOP, BOTTOM = 52.0, 12.0, 24.0, 44.0


@dataclass(frozen=True, kw_only=True)
class Axes:
    """The two scales of a chart and what they mean."""

    x: Scale
    """Left to right."""

    y: Scale
    """Bottom to top."""

    x_label: str
    """With its unit."""

    y_label: str
    """With its unit."""


def make_axes(
    x_range: tuple[float, float],
    y_range: tuple[float, float],
    x_label: str,
    y_label: str,
) -> Axes:
    """Axes over the whole drawing area."""
    return Axes(
        x=Scale(*x_range, LEFT, WIDTH - RIGHT),
        y=Scale(*y_range, HEIGHT - BOTTOM, TOP),
        x_label=x_label,
        y_label=y_label,
    )


def grid(axes: Axes) -> Markup:
    """Ticks, grid lines and axis labels."""
    parts: list[Markup] = []
    values = ticks(axes.y.low, axes.y.high)
    for value in values:
        y = axes.y(value)
        parts.append(tag("line", x1=LEFT, y1=y, x2=WIDTH - RIGHT, y2=y, class_="grid"))
        parts.append(tag("text", tick_text(value, values), x=LEFT - 6, y=y + 4, text_anchor="end"))
    values = ticks(axes.x.low, axes.x.high, 6)
    for value in values:
        x = axes.x(value)
        base = HEIGHT - BOTTOM
        parts.append(tag("line", x1=x, y1=base, x2=x, y2=base + 4, class_="axis"))
        parts.append(tag("text", tick_text(value, values), x=x, y=base + 17, text_anchor="middle"))
    base = HEIGHT - BOTTOM
    parts.append(tag("line", x1=LEFT, y1=base, x2=WIDTH - RIGHT, y2=base, class_="axis"))
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(
        tag("text", axes.x_label, x=middle, y=HEIGHT - 8, text_anchor="middle", class_="label")
    )
    parts.append(tag("text", axes.y_label, x=4, y=13, class_="label"))
    return join(parts)


def figure(
    title: str,
    caption: str,
    description: str,
    drawing: Sequence[Markup],
    legend: Markup,
    *,
    height: float = HEIGHT,
) -> Markup:
    """A chart with its title above, legend and caption below.

    ``description`` says in words what is drawn, for those who cannot see it; ``height`` is that of
    the drawing.
    """
    picture = tag(
        "svg",
        *drawing,
        viewBox=f"0 0 {WIDTH:g} {height:g}",
        role="img",
        aria_label=description,
        class_="chart",
    )
    return tag(
        "figure", tag("h3", title), picture, legend, tag("figcaption", caption), class_="card"
    )
