"""The page: one file that holds its data, its look and its script, and fetches nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from sekd_plugin.analysis.difficulty.charts import all_drawings, gamma_number, percent
from sekd_plugin.analysis.difficulty.tables import (
    movement_table,
    often_hard_table,
    overlap_table,
    quantile_table,
    reference_start,
    start_table,
    start_yaml,
    threshold_table,
)
from sekd_plugin.analysis.report.drawing import Drawing
from sekd_plugin.analysis.report.markup import Markup, join, tag
from sekd_plugin.analysis.report.style import STYLE

Figures = Mapping[str, Any]

_FILES = "sekd_plugin.analysis.difficulty.page_files"
_OVER_TRAINING = ("quantiles", "hard-share")

SHARE_IN_TRAINING = (
    "Of training pairs, which a student knows better than these, the same Γ makes fewer tokens "
    "hard, and ever fewer as it learns; a dynamic quantile, target_ratio or top_k keeps the share. "
    "Γ = 0 makes every token hard, which came out best in the experiments of the documentation, "
    "with β = 0.9 on a student that translated already."
)
"""What to know of a Γ that is taken from a development set."""


def render_page(figures: Figures) -> str:
    """The whole page as text."""
    drawings = {drawing.name: drawing for drawing in all_drawings(figures)}
    last = figures["checkpoints"][-1]["name"]
    return _filled(
        _file("page.html"),
        {
            "title": tag("title", f"Difficulty: {last}"),
            "style": Markup(STYLE + _file("page.css")),
            "body": _body(figures, drawings),
            "data": Markup(json_in_html(figures)),
            "script": Markup(_file("page.js")),
        },
    )


def json_in_html(figures: Figures) -> str:
    """JSON that may stand in a script element: no text in it can end the element."""
    text = json.dumps(figures, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def introduction(figures: Figures) -> str:
    """What was measured, in a sentence or two."""
    criterion = figures["criterion"]
    return (
        f"{figures['tokens']:,} target tokens of {figures['sentences']:,} sentences, each as "
        f"difficult as D(ỹ ‖ q) says: D is {figures['columns'][0]['divergence']}, "
        f"λ = {criterion['teacher_weight']:g}, T = {criterion['temperature']:g}. The student is "
        f"{figures['checkpoints'][-1]['name']}, the teacher {figures['teacher']}."
    )


def _file(name: str) -> str:
    return files(_FILES).joinpath(name).read_text(encoding="utf-8")


def _filled(template: str, parts: Mapping[str, str]) -> str:
    """The template with a part for each ``{{name}}``; what a part holds is not looked at again."""
    return re.sub(r"\{\{(\w+)\}\}", lambda place: parts[place[1]], template)


def _body(figures: Figures, drawings: Mapping[str, Drawing]) -> Markup:
    parts = [
        tag("h1", "How difficult the tokens are, and which Γ to start with"),
        tag("p", introduction(figures)),
    ]
    if figures["dropped"]:
        why = "; ".join(f"{count:,} {reason}" for reason, count in figures["dropped"].items())
        parts.append(tag("p", f"Left out: {why}.", class_="warn"))
    parts += _start(figures, drawings)
    parts += _by_part(figures, drawings)
    if figures["training"] is not None:
        parts += _over_training(figures, drawings)
    parts += _overlaps(figures)
    parts += _often_hard(figures)
    return join(parts)


def _start(figures: Figures, drawings: Mapping[str, Drawing]) -> list[Markup]:
    start = reference_start(figures)
    others = "; ".join(
        f"{gamma_number(each['gamma'])} makes {percent(each['share'])} hard"
        for each in figures["start"]
        if each is not start
    )
    charts = [drawings[name].figure() for name in ("gamma", "histogram") if name in drawings]
    return [
        tag("h2", "Which Γ to start with", id="start"),
        tag(
            "p",
            tag("strong", f"Γ = {gamma_number(start['gamma'])}"),
            f" makes {percent(start['share'])} of the tokens hard; {others}. Start with one of "
            "these, and compare it with plain distillation (Γ = infinity): which share is best for "
            "your data no histogram can tell.",
        ),
        start_table(figures),
        tag(
            "p",
            "A hard token pulls its gold word up in proportion to q(gold), the student's own "
            "belief in it. Where the last but one column is high, most hard tokens are hardly "
            "learnt from: that keeps out noise if the teacher does not choose these words either, "
            "and holds the student back if it does.",
            class_="soft",
        ),
        tag("p", SHARE_IN_TRAINING, class_="soft"),
        _folded("As a recipe", start_yaml(figures, start)),
        tag("div", *charts, class_="charts"),
        tag("h3", "The same by other divergences, and at other checkpoints"),
        quantile_table(figures),
    ]


def _by_part(figures: Figures, drawings: Mapping[str, Drawing]) -> list[Markup]:
    charts = [each.figure() for name, each in drawings.items() if name.startswith("by-")]
    return [
        tag("h2", "Which tokens are hard", id="parts"),
        tag("div", *charts, class_="charts"),
    ]


def _over_training(figures: Figures, drawings: Mapping[str, Drawing]) -> list[Markup]:
    charts = [drawings[name].figure() for name in _OVER_TRAINING if name in drawings]
    return [
        tag("h2", "How hard tokens move over training", id="training"),
        tag("div", *charts, class_="charts"),
        movement_table(figures),
    ]


def _overlaps(figures: Figures) -> list[Markup]:
    ratio = figures["reference"]["ratio"]
    divergences = figures["divergences"]
    nearest = min(divergences["overlap"], key=lambda each: abs(each["ratio"] - ratio))
    return [
        tag("h2", "Do others call the same tokens hard?", id="overlap"),
        tag("h3", f"Divergences, each with its {percent(nearest['ratio'])} hardest tokens"),
        overlap_table(divergences["names"], nearest["jaccard"]),
        tag("h3", "Thresholds, on the criterion's own difficulties"),
        threshold_table(figures),
        _folded_markup(
            "Each threshold with each other",
            overlap_table(
                [row["label"] for row in figures["thresholds"]["rows"]],
                figures["thresholds"]["jaccard"],
            ),
        ),
        tag(
            "p",
            "Overlap is what two sets share, |A ∩ B| / |A ∪ B|: 1 is the same tokens, 0 none in "
            "common. A threshold has seen all tokens once as a finished step and decides on them "
            "as one batch; a schedule is at its start. One that decides by sentence has no one Γ.",
            class_="soft",
        ),
    ]


def _often_hard(figures: Figures) -> list[Markup]:
    return [
        tag("h2", "Tokens that are most often hard", id="often"),
        tag(
            "p",
            f"Gold pieces, where {percent(figures['reference']['ratio'])} of all tokens are hard. "
            "A heading sorts, a piece shows its sentences below. ␣ is the space before a word.",
            class_="soft",
        ),
        often_hard_table(figures),
    ]


def _folded(title: str, text: str) -> Markup:
    return _folded_markup(title, tag("pre", text))


def _folded_markup(title: str, content: str) -> Markup:
    return tag("details", tag("summary", title), content)
