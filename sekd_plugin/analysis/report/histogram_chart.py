"""The difficulty histogram, early and late in training."""

from __future__ import annotations

from collections.abc import Sequence

from sekd_plugin.analysis.report.chart import BOTTOM, HEIGHT, figure, grid, make_axes
from sekd_plugin.analysis.report.markup import Markup, tag
from sekd_plugin.analysis.report.outline import outline
from sekd_plugin.analysis.report.results import DifficultyHistogram
from sekd_plugin.analysis.report.scale import Scale
from sekd_plugin.analysis.report.series import Series, legend

_BINS = 20


def histogram_chart(
    title: str,
    histograms: Sequence[DifficultyHistogram],
    gammas: Sequence[float | None],
    styles: Sequence[int],
) -> Markup:
    """Outlines of histograms over the same bins, each with Γ as it stood then.

    Args:
        title: the heading.
        histograms: one or several, all with the same edges.
        gammas: Γ at each histogram's step, in nats; None where it is not known.
        styles: the look of each.
    """
    if not histograms:
        return Markup("")
    starts = _bins(histograms)
    edges = [histograms[0].edges[start] for start in starts]
    merged = [_shares(histogram, starts) for histogram in histograms]
    width = edges[1] - edges[0]
    end = edges[-1] + width  # the open bin is drawn as wide as the others
    top = max(map(max, merged)) or 1.0
    axes = make_axes(
        (0.0, end), (0.0, 1.08 * top), "difficulty of a target word / nats", "words / %"
    )
    parts = [grid(axes)]
    series = []
    for shares, histogram, gamma, style in zip(merged, histograms, gammas, styles, strict=True):
        name = f"step {histogram.step:,}"
        parts.append(outline(edges, end, shares, axes.x, axes.y, name, style))
        if gamma is not None and gamma < end:
            parts.append(_gamma_line(gamma, axes.x, axes.y, name, style))
        series.append(Series(name=name, points=(), style=style))
    total = sum(histograms[0].counts)
    caption = (
        f"{total:,} target words of the validation set. The last bin holds all from "
        f"{edges[-1]:g} nats up. Upright lines: Γ at that step; words to the right are hard."
    )
    means = "; ".join(
        f"step {histogram.step:,}: {shares[0]:.0f} % below {width:g} nats"
        for shares, histogram in zip(merged, histograms, strict=True)
    )
    return figure(title, caption, f"{title}. {means}.", parts, legend(series))


def _bins(histograms: Sequence[DifficultyHistogram]) -> list[int]:
    """Where about ``_BINS`` wider bins start, the same ones for all, the last one open."""
    total_counts = [sum(column) for column in zip(*(h.counts for h in histograms), strict=True)]
    total = sum(total_counts) or 1
    # The tail that holds less than half a per cent is one bin: it is too flat to be seen.
    last = len(total_counts) - 1
    while last > 1 and sum(total_counts[last - 1 :]) / total < 0.005:
        last -= 1
    together = -(-last // _BINS)
    # At least two bins, and whole ones: the open bin takes what is left over.
    return [*range(0, last, together), min(-(-last // together) * together, len(total_counts) - 1)]


def _shares(histogram: DifficultyHistogram, starts: Sequence[int]) -> list[float]:
    """What each bin holds, in per cent of the words."""
    total = sum(histogram.counts) or 1
    ends = [*starts[1:], len(histogram.counts)]
    return [
        100.0 * sum(histogram.counts[start:end]) / total
        for start, end in zip(starts, ends, strict=True)
    ]


def _gamma_line(gamma: float, x: Scale, y: Scale, name: str, style: int) -> Markup:
    place = x(gamma)
    return tag(
        "line",
        tag("title", f"Γ at {name}: {gamma:.3g} nats"),
        x1=place,
        y1=HEIGHT - BOTTOM,
        x2=place,
        y2=y(y.high),
        class_=f"gamma s{style}",
    )
