"""The charts of an analysis, drawn from its figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sekd_plugin.analysis.report.chart import BOTTOM, HEIGHT, TOP, WIDTH, grid, make_axes
from sekd_plugin.analysis.report.drawing import Drawing
from sekd_plugin.analysis.report.line_chart import line_drawing
from sekd_plugin.analysis.report.markup import Markup, tag
from sekd_plugin.analysis.report.outline import outline
from sekd_plugin.analysis.report.series import NUM_STYLES, Series

Figures = Mapping[str, Any]

_LABELS, _ROW = 150.0, 26.0
_SHOWN_QUANTILES = (0.5, 0.9, 0.95, 0.99)


def all_drawings(figures: Figures) -> list[Drawing]:
    """Every chart there is something to draw for."""
    found = [gamma_drawing(figures), histogram_drawing(figures)]
    found += [part_drawing(part, figures) for part in figures["parts"]]
    found += [quantile_drawing(figures), hard_share_drawing(figures)]
    return [drawing for drawing in found if drawing is not None]


def own_columns(figures: Figures) -> list[Figures]:
    """The columns of the criterion's own divergence, in the order of the checkpoints."""
    main = figures["columns"][0]["divergence"]
    own = [column for column in figures["columns"] if column["divergence"] == main]
    return sorted(own, key=lambda column: int(column["checkpoint"]))


def percent(share: float | None) -> str:
    """A share in per cent, with more digits where it is small."""
    if share is None:
        return "–"
    value = 100.0 * share
    if value == 0.0 or value >= 9.95:
        return f"{value:.0f} %"
    if value < 0.001:
        return "< 0.001 %"
    text = f"{value:.1f}".removesuffix(".0") if value >= 0.095 else f"{value:.1g}"
    return f"{text} %"


def number(value: float | None) -> str:
    """A difficulty, short; a sign for what is not finite."""
    return "∞" if value is None else f"{value:.4g}"


def gamma_number(value: float | None) -> str:
    """Γ in the digits that it needs; a sign for what is not finite."""
    return "∞" if value is None else f"{value:.12g}"


def gamma_drawing(figures: Figures) -> Drawing | None:
    """Γ against the share of hard tokens that it makes, at every checkpoint."""
    series = []
    own = own_columns(figures)[-(NUM_STYLES - 1) :]
    for style, column in enumerate(reversed(own)):
        points = [(gamma, 100.0 * share) for gamma, share in column["curve"]]
        name = figures["checkpoints"][column["checkpoint"]]["name"]
        series.append(Series(name=name, points=points, style=style, faint=True))
    marks = sorted(
        (each["gamma"], 100.0 * each["share"])
        for each in figures["start"]
        if each["gamma"] is not None
    )
    series.append(Series(name="Γ for the shares in the table", points=marks, style=NUM_STYLES - 1))
    return line_drawing(
        "gamma",
        "How many tokens a Γ makes hard",
        series,
        x_label=f"Γ, {figures['columns'][0]['divergence']}",
        y_label="hard tokens / %",
        caption="Read off Γ below the share of hard tokens that you want, or the share above a Γ.",
        zero=True,
        x_form=".4g",
    )


def histogram_drawing(figures: Figures) -> Drawing:
    """How many tokens are how difficult, at every checkpoint; Γ for each share of hard tokens."""
    own = own_columns(figures)[-NUM_STYLES:]
    edges = own[0]["histogram"]["edges"]
    width = edges[1] - edges[0]
    end = edges[-1] + width  # the open bin is drawn as wide as the others
    shares = [_shares(column["histogram"]["counts"]) for column in own]
    top = max(map(max, shares)) or 1.0
    divergence = own[-1]["divergence"]
    axes = make_axes((0.0, end), (0.0, 1.12 * top), f"difficulty, {divergence}", "tokens / %")
    parts = [grid(axes)]
    series = []
    for style, (column, each) in enumerate(zip(reversed(own), reversed(shares), strict=True)):
        name = figures["checkpoints"][column["checkpoint"]]["name"]
        parts.append(outline(edges, end, each, axes.x, axes.y, name, style, unit="", what="tokens"))
        series.append(Series(name=name, points=(), style=style))
    for row, each in enumerate(figures["start"]):
        if each["gamma"] is not None and each["gamma"] < end:
            parts += _gamma_mark(axes.x(each["gamma"]), each, row)
    return Drawing(
        name="histogram",
        title="How difficult tokens are",
        caption=(
            f"{figures['tokens']:,} target tokens. The last bin holds all from {edges[-1]:g} up. "
            "Upright lines: Γ for the share of hard tokens written beside; what is to the right of "
            "one is hard."
        ),
        description=(
            f"Histogram of difficulty by {divergence}. Median "
            f"{number(dict(map(tuple, own[-1]['quantiles']))[0.5])}; {shares[-1][0]:.0f} % of the "
            f"tokens are below {width:g}."
        ),
        parts=parts,
        series=series,
    )


def part_drawing(part: Figures, figures: Figures) -> Drawing:
    """The share of hard tokens in each group of a part."""
    ratio = figures["reference"]["ratio"]
    overall = figures["reference"]["share"]
    groups = part["groups"]
    room = WIDTH - 12.0 - _LABELS - 130.0
    most = max([group["share_hard"] for group in groups] + [overall]) or 1.0
    height = TOP + _ROW * len(groups) + 8.0
    place = _LABELS + room * overall / most
    parts = [
        tag(
            "line",
            tag("title", f"of all tokens: {percent(overall)}"),
            x1=place,
            x2=place,
            y1=TOP - 6.0,
            y2=height - 4.0,
            class_="gamma s1",
        ),
        tag("text", f"all: {percent(overall)}", x=place + 4.0, y=TOP - 8.0),
    ]
    for row, group in enumerate(groups):
        y = TOP + _ROW * row
        share = group["share_hard"]
        length = room * share / most
        told = (
            f"{group['label']}: {percent(share)} of {group['tokens']:,} tokens are hard; median "
            f"difficulty {number(group['median'])}, 90th percentile {number(group['p90'])}"
        )
        parts += [
            tag("text", group["label"], x=_LABELS - 8.0, y=y + 15.0, text_anchor="end"),
            tag(
                "rect",
                tag("title", told),
                x=_LABELS,
                y=y + 3.0,
                width=max(length, 1.0),
                height=_ROW - 9.0,
                class_="bar",
            ),
            tag(
                "text",
                f"{percent(share)} of {group['tokens']:,}",
                x=WIDTH - 12.0,
                y=y + 15.0,
                text_anchor="end",
            ),
        ]
    said = "; ".join(f"{group['label']}: {percent(group['share_hard'])}" for group in groups)
    return Drawing(
        name=f"by-{part['name'].replace('_', '-')}",
        title=part["title"],
        caption=f"{part['note']} The share that is hard where {percent(ratio)} of all are.",
        description=f"Hard tokens by {part['title'].lower()}. {said}.",
        parts=parts,
        height=height,
    )


def quantile_drawing(figures: Figures) -> Drawing | None:
    """Quantiles of the difficulty over training; None for a single checkpoint."""
    runs = _runs(figures)
    if not runs:
        return None
    series = []
    (run, columns) = max(runs.items(), key=lambda item: len(item[1]))
    for style, share in enumerate(_SHOWN_QUANTILES):
        points = [
            (float(figures["checkpoints"][column["checkpoint"]]["step"]), value)
            for column in columns
            if (value := dict(map(tuple, column["quantiles"]))[share]) is not None
        ]
        series.append(Series(name=f"{100 * share:.0f}th percentile", points=points, style=style))
    return line_drawing(
        "quantiles",
        f"Difficulty over the training of {run}",
        series,
        x_label="training step",
        y_label="difficulty",
        caption="A fixed Γ makes fewer and fewer tokens hard where these lines fall.",
        zero=True,
    )


def hard_share_drawing(figures: Figures) -> Drawing | None:
    """What the first checkpoint's Γ would make hard later; None for a single checkpoint."""
    training = figures["training"]
    if training is None:
        return None
    series = []
    for style, (run, columns) in enumerate(list(_runs(figures).items())[:NUM_STYLES]):
        points = [
            (
                float(figures["checkpoints"][column["checkpoint"]]["step"]),
                100.0 * training["share_above"][column["checkpoint"]],
            )
            for column in columns
        ]
        series.append(Series(name=run, points=points, style=style))
    return line_drawing(
        "hard-share",
        "What one Γ makes hard over training",
        series,
        x_label="training step",
        y_label="hard tokens / %",
        caption=(
            f"Γ = {gamma_number(training['gamma'])} throughout: what makes "
            f"{percent(figures['reference']['ratio'])} hard at the first checkpoint."
        ),
        zero=True,
    )


def _runs(figures: Figures) -> dict[str, list[Figures]]:
    """Run → its columns by rising step, of the runs with several checkpoints."""
    found: dict[str, list[Figures]] = {}
    for column in own_columns(figures):
        found.setdefault(figures["checkpoints"][column["checkpoint"]]["run"], []).append(column)
    return {
        run: sorted(columns, key=lambda c: int(figures["checkpoints"][c["checkpoint"]]["step"]))
        for run, columns in found.items()
        if len(columns) > 1
    }


def _shares(counts: Sequence[int]) -> list[float]:
    total = sum(counts) or 1
    return [100.0 * count / total for count in counts]


def _gamma_mark(x: float, start: Figures, row: int) -> list[Markup]:
    said = f"Γ = {gamma_number(start['gamma'])}: {percent(start['share'])} hard"
    return [
        tag(
            "line",
            tag("title", said),
            x1=x,
            x2=x,
            y1=HEIGHT - BOTTOM,
            y2=TOP + 14.0 * row,
            class_="gamma s1",
        ),
        tag("text", percent(start["ratio"]), x=x + 3.0, y=TOP + 14.0 * row + 10.0),
    ]
