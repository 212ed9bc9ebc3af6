"""The outline of a histogram."""

from __future__ import annotations

from collections.abc import Sequence

from sekd_plugin.analysis.report.chart import BOTTOM, HEIGHT
from sekd_plugin.analysis.report.markup import Markup, join, tag
from sekd_plugin.analysis.report.scale import Scale
from sekd_plugin.analysis.report.series import DASHES


def outline(
    edges: Sequence[float],
    end: float,
    shares: Sequence[float],
    x: Scale,
    y: Scale,
    name: str,
    style: int,
    *,
    unit: str = " nats",
    what: str = "words",
) -> Markup:
    """A line over the bins, with what each holds where it is touched.

    Args:
        edges: lower edges of the bins; the last one is open.
        end: where the open bin ends on the page.
        shares: what each bin holds, in per cent.
        x: the scale of the edges.
        y: the scale of the shares.
        name: what the histogram is of.
        style: its look.
        unit: of the edges, with a space before it.
        what: is counted.
    """
    uppers = [*edges[1:], end]
    path = [f"{x(0.0):.1f},{HEIGHT - BOTTOM:.1f}"]
    touch = []
    for number, (low, high, share) in enumerate(zip(edges, uppers, shares, strict=True)):
        path += [f"{x(low):.1f},{y(share):.1f}", f"{x(high):.1f},{y(share):.1f}"]
        is_open = number == len(shares) - 1
        span = f"{low:g}{unit} and more" if is_open else f"{low:g} to {high:g}{unit}"
        touch.append(
            tag(
                "rect",
                tag("title", f"{name}, {span}: {share:.1f} % of the {what}"),
                x=x(low),
                y=y(share) - 4.0,
                width=x(high) - x(low),
                height=8.0,
                class_="touch",
            )
        )
    path.append(f"{x(end):.1f},{HEIGHT - BOTTOM:.1f}")
    line = tag(
        "polyline", points=" ".join(path), class_=f"line s{style}", stroke_dasharray=DASHES[style]
    )
    return join([line, *touch])
