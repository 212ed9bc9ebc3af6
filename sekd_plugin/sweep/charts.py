"""The results as pictures: SVG files that stand alone, in a paper or a browser."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sekd_plugin.analysis.report.chart import BOTTOM, HEIGHT, LEFT, TOP, WIDTH, grid, make_axes
from sekd_plugin.analysis.report.markup import Markup, tag
from sekd_plugin.analysis.report.scale import Scale, extent, tick_text, ticks
from sekd_plugin.analysis.report.series import DASHES, NUM_STYLES, marker
from sekd_plugin.analysis.report.style import STYLE
from sekd_plugin.sweep.results import SweepResults

_LINE = 18.0
_LETTER = 6.6
"""About the width of a letter of the labels."""


def curves_chart(results: SweepResults) -> str:
    """BLEU on the validation set over training, a curve a row."""
    rows = [row for row in results.rows if row.curve]
    if not rows:
        return _picture(WIDTH, _LINE, "No curves yet.", [])
    steps = [float(step) for row in rows for step, _ in row.curve]
    scores = [score for row in rows for _, score in row.curve]
    last = max(steps)
    axes = make_axes(
        (min(steps), last if last > min(steps) else last + 1),
        extent(scores),
        "training step",
        "BLEU on the validation set",
    )
    drawing = [grid(axes)]
    for number, row in enumerate(rows):
        points = [(axes.x(float(step)), axes.y(score)) for step, score in row.curve]
        drawing.append(_line(number, points))
        drawing += [
            marker(number, x, y, tag("title", f"{row.name}, step {step:,}: {score:.2f}"))
            for (x, y), (step, score) in zip(points, row.curve, strict=True)
        ]
        y = HEIGHT + _LINE * number + 10.0
        drawing.append(_line(number, [(LEFT, y), (LEFT + 30.0, y)]))
        drawing.append(marker(number, LEFT + 15.0, y))
        drawing.append(tag("text", row.name, x=LEFT + 38.0, y=y + 4.0, class_="label"))
    ends = "; ".join(f"{row.name} ends at {row.curve[-1][1]:.2f}" for row in rows)
    return _picture(
        WIDTH + 12.0,  # room for half of the last tick's number
        HEIGHT + _LINE * len(rows) + 6.0,
        f"BLEU on the validation set over training steps, in the mean over seeds. {ends}.",
        drawing,
    )


def scores_chart(results: SweepResults) -> str:
    """BLEU on the test set, a line a row: mean, 95 % interval over seeds, and every seed."""
    rows = [row for row in results.rows if row.seeds]
    if not rows:
        return _picture(WIDTH, _LINE, "No scores yet.", [])
    found = [row.summaries["BLEU"] for row in rows]
    every = [run.scores["BLEU"] for row in rows for run in row.seeds]
    ends = [end for each in found for end in (each.low, each.high) if end is not None]
    left = 24.0 + _LETTER * max(len(row.name) for row in rows)
    width = left + 420.0
    height = TOP + 2.0 * _LINE * len(rows) + BOTTOM
    scale = Scale(*extent([*every, *ends]), left, width - 16.0)
    base = height - BOTTOM
    drawing = [tag("line", x1=left, y1=base, x2=width - 16.0, y2=base, class_="axis")]
    values = ticks(scale.low, scale.high)
    for value in values:
        x = scale(value)
        drawing.append(tag("line", x1=x, y1=TOP, x2=x, y2=base, class_="grid"))
        text = tick_text(value, values)
        drawing.append(tag("text", text, x=x, y=base + 17.0, text_anchor="middle"))
    label = f"BLEU on {results.num_sentences:,} test sentences"
    middle = 0.5 * (left + width - 16.0)
    drawing.append(
        tag("text", label, x=middle, y=height - 8.0, text_anchor="middle", class_="label")
    )
    for number, (row, each) in enumerate(zip(rows, found, strict=True)):
        y = TOP + _LINE * (2.0 * number + 1.0)
        style = 1 if row.name == results.baseline else 0
        drawing.append(
            tag("text", row.name, x=left - 10.0, y=y + 4.0, text_anchor="end", class_="label")
        )
        if each.low is not None and each.high is not None:
            drawing.append(_line(style, [(scale(each.low), y), (scale(each.high), y)], solid=True))
        drawing += [
            tag(
                "circle",
                tag("title", f"{row.name}, seed {run.seed}: {run.scores['BLEU']:.2f}"),
                cx=scale(run.scores["BLEU"]),
                cy=y + 7.0,
                r=1.8,
                class_=f"marker s{style}",
            )
            for run in row.seeds
        ]
        title = tag("title", f"{row.name}: {each.mean:.2f} in the mean over {each.count}")
        drawing.append(marker(style, scale(each.mean), y, title))
    words = "; ".join(f"{row.name} {each.mean:.2f}" for row, each in zip(rows, found, strict=True))
    return _picture(
        width,
        height,
        f"BLEU on the test set with 95 % intervals over seeds; small points are seeds. {words}.",
        drawing,
    )


def _line(number: int, points: Sequence[tuple[float, float]], *, solid: bool = False) -> Markup:
    """A line; twenty-five numbers have a look of their own, by colour and dashes together."""
    dashes = None if solid else DASHES[(number + number // NUM_STYLES) % NUM_STYLES]
    return tag(
        "polyline",
        points=" ".join(f"{x:.1f},{y:.1f}" for x, y in points),
        class_=f"line s{number % NUM_STYLES}",
        stroke_dasharray=dashes,
    )


def _picture(width: float, height: float, description: str, drawing: Sequence[Markup]) -> str:
    picture = tag(
        "svg",
        tag("title", description),
        tag("style", _plain_style()),
        tag("rect", x=0, y=0, width=width, height=height, fill="#ffffff"),
        *drawing,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width:g} {height:g}",
        width=width,
        height=height,
        class_="chart",
        role="img",
        aria_label=description,
        font_family="sans-serif",
    )
    return f"{picture}\n"


def _plain_style() -> Markup:
    """The report's style for charts in its light colours, without what drawing programs lack."""
    colours = dict(re.findall(r"--([\w-]+): (#\w+);", STYLE.split("@media")[0]))
    kinds = r"chart text|chart \.label|grid|axis|line|marker|s\d"
    rules = re.findall(rf"\.(?:{kinds}) \{{[^}}]*\}}", STYLE)
    return Markup(re.sub(r"var\(--([\w-]+)\)", lambda found: colours[found[1]], "\n".join(rules)))
