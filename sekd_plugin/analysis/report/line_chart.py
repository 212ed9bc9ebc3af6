"""Lines over training steps, or over anything else."""

from __future__ import annotations

from collections.abc import Sequence

from sekd_plugin.analysis.report.chart import Axes, grid, make_axes
from sekd_plugin.analysis.report.drawing import Drawing
from sekd_plugin.analysis.report.markup import Markup, join, tag
from sekd_plugin.analysis.report.scale import extent
from sekd_plugin.analysis.report.series import DASHES, NUM_STYLES, Series, marker


def line_chart(
    title: str,
    series: Sequence[Series],
    *,
    x_label: str,
    y_label: str,
    caption: str,
    zero: bool = False,
) -> Markup:
    """A chart of lines with a legend; nothing at all if no series has a point.

    Args:
        title: the heading.
        series: the lines.
        x_label: what the x axis is, with its unit.
        y_label: what the y axis is, with its unit.
        caption: what to know when reading it.
        zero: whether 0 is in sight on the y axis.
    """
    drawing = line_drawing(
        "lines",
        title,
        series,
        x_label=x_label,
        y_label=y_label,
        caption=caption,
        zero=zero,
    )
    return Markup("") if drawing is None else drawing.figure()


def line_drawing(
    name: str,
    title: str,
    series: Sequence[Series],
    *,
    x_label: str,
    y_label: str,
    caption: str,
    zero: bool = False,
    x_form: str = ",.0f",
) -> Drawing | None:
    """The same before it is put into a page; None if no series has a point.

    Args:
        name: what its file is called.
        title: the heading.
        series: the lines.
        x_label: what the x axis is, with its unit.
        y_label: what the y axis is, with its unit.
        caption: what to know when reading it.
        zero: whether 0 is in sight on the y axis.
        x_form: how a place on the x axis is written where a line is touched.
    """
    shown = [each for each in series if each.points]
    if not shown:
        return None
    xs = [x for each in shown for x, _ in each.points]
    ys = [y for each in shown for _, y in each.points]
    x_range = (min(xs), max(xs)) if min(xs) < max(xs) else (min(xs) - 1, max(xs) + 1)
    axes = make_axes(x_range, extent(ys, zero=zero), x_label, y_label)
    lines = [_line(each, axes, x_form) for each in shown]
    ends = "; ".join(
        f"{each.name} from {each.points[0][1]:.3g} to {each.points[-1][1]:.3g}" for each in shown
    )
    return Drawing(
        name=name,
        title=title,
        caption=caption,
        description=f"{title}: {y_label} over {x_label}. {ends}.",
        parts=[grid(axes), *lines],
        series=shown,
    )


def _line(series: Series, axes: Axes, x_form: str) -> Markup:
    kind = series.style % NUM_STYLES
    points = " ".join(f"{axes.x(x):.1f},{axes.y(y):.1f}" for x, y in series.points)
    line = tag(
        "polyline",
        points=points,
        class_=f"line s{kind}" + (" faint" if series.faint else ""),
        stroke_dasharray=DASHES[kind],
    )
    titles = [
        tag("title", f"{series.name}, {axes.x_label} {x:{x_form}}: {y:.4g}")
        for x, y in series.points
    ]
    places = [(axes.x(x), axes.y(y)) for x, y in series.points]
    if series.faint:
        spots = [
            tag("circle", title, cx=x, cy=y, r=5.0, class_="touch")
            for (x, y), title in zip(places, titles, strict=True)
        ]
    else:
        spots = [
            marker(series.style, x, y, title) for (x, y), title in zip(places, titles, strict=True)
        ]
    return join([line, *spots])
