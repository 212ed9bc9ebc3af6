"""The tables of the page, formed from an analysis's figures."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from sekd_plugin.analysis.difficulty.charts import gamma_number, number, percent
from sekd_plugin.analysis.report.markup import Markup, join, tag

Figures = Mapping[str, Any]

_SHOWN_QUANTILES = (0.5, 0.9, 0.99)
_YAML_WORDS = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}


def start_table(figures: Figures) -> Markup:
    """Γ for each share of hard tokens, and what these tokens are like."""
    head = [
        "share that is hard",
        "Γ",
        "hard tokens",
        "q(gold) of a hard token, median",
        "hard tokens with q(gold) < 1 %",
        "the teacher's first choice is gold",
    ]
    rows = [
        [
            percent(each["ratio"]),
            tag("strong", gamma_number(each["gamma"])),
            f"{round(each['share'] * figures['tokens']):,} ({percent(each['share'])})",
            percent(each["student_gold"]),
            percent(each["unbelieved"]),
            percent(each["teacher_agrees"]),
        ]
        for each in figures["start"]
    ]
    return _table(head, rows)


def reference_start(figures: Figures) -> Figures:
    """What is said of Γ for the share of hard tokens that the page is for."""
    ratio = figures["reference"]["ratio"]
    found: Figures = next(each for each in figures["start"] if each["ratio"] == ratio)
    return found


def start_yaml(figures: Figures, start: Figures) -> str:
    """Criterion sections to paste: ``start``'s Γ, and as comments the others."""
    others = [
        f"# {percent(each['share'])} hard: gamma: {gamma_number(each['gamma'])}"
        for each in figures["start"]
        if each is not start and each["config"] is not None
    ]
    return "\n".join([criterion_yaml(start["config"]), *others])


def criterion_yaml(config: Figures | None) -> str:
    """A recipe's section with these settings of the criterion."""
    if config is None:
        return "# no finite Γ makes so many tokens hard"
    lines = [f"    {key}: {_flow(value)}" for key, value in config.items()]
    return "\n".join(["criterion:", "  name: self_evolution_kd", "  config:", *lines])


def _flow(value: object) -> str:
    """A setting as YAML in one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_flow(child)}" for key, child in value.items()) + "}"
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z_][\w.]*", value):
        return json.dumps(value) if value.lower() in _YAML_WORDS else value
    return json.dumps(value, ensure_ascii=False)


def quantile_table(figures: Figures) -> Markup:
    """Quantiles of each measure, and its Γ for each share of hard tokens."""
    head = ["difficulty by", "mean", *(_ordinal(share) for share in _SHOWN_QUANTILES)]
    head += [f"Γ, {percent(ratio)} hard" for ratio in figures["ratios"]]
    rows = []
    for column in figures["columns"]:
        quantiles = dict(map(tuple, column["quantiles"]))
        at = figures["checkpoints"][column["checkpoint"]]["name"]
        rows.append(
            [
                join([column["divergence"], tag("small", f"at {at}")]),
                number(column["mean"]),
                *(number(quantiles[share]) for share in _SHOWN_QUANTILES),
                *(gamma_number(each["gamma"]) for each in column["hard"]),
            ]
        )
    return _table(head, rows)


def movement_table(figures: Figures) -> Markup:
    """Which tokens became easy or hard between checkpoints, at one Γ."""
    training = figures["training"]
    names = [each["name"] for each in figures["checkpoints"]]
    head = ["from", "to", "hard at both", "became easy", "became hard", "easy at both"]
    head.append("overlap at equal shares")
    rows = [
        [
            names[move["from"]],
            names[move["to"]],
            *(
                f"{move[key]:,}"
                for key in ("stayed_hard", "became_easy", "became_hard", "stayed_easy")
            ),
            f"{training['same_ratio'][move['from']][move['to']]:.2f}",
        ]
        for move in training["moves"]
    ]
    return _table(head, rows)


def overlap_table(names: Sequence[str], jaccard: Sequence[Sequence[float]]) -> Markup:
    """A square of numbers, darker where two agree."""
    head = tag("tr", tag("th", ""), *(tag("th", name, scope="col") for name in names))
    rows = [
        tag(
            "tr",
            tag("th", name, scope="row"),
            *(
                tag("td", f"{value:.2f}", class_="share", style=f"--share:{value:.2f}")
                for value in row
            ),
        )
        for name, row in zip(names, jaccard, strict=True)
    ]
    return tag("div", tag("table", tag("thead", head), tag("tbody", *rows)), class_="wide")


def threshold_table(figures: Figures) -> Markup:
    """What each threshold makes of the difficulties."""
    ratio = percent(figures["reference"]["ratio"])
    head = [
        "threshold",
        "Γ",
        "hard tokens",
        "sentences with a hard token",
        f"overlap with the {ratio} hardest",
    ]
    rows = [
        [
            row["label"],
            "–" if row["gamma"] is None else number(row["gamma"]),
            percent(row["share"]),
            percent(row["sentences"]),
            f"{row['with_reference']:.2f}",
        ]
        for row in figures["thresholds"]["rows"]
    ]
    return _table(head, rows)


def often_hard_table(figures: Figures) -> Markup:
    """The gold words that are most often hard; a page's script sorts it."""
    head = ["piece", "hard", "occurs", "share hard", "mean difficulty"]
    rows = [
        [
            tag("a", shown_piece(each["text"]), href=f"#word={each['word']}"),
            f"{each['hard']:,}",
            f"{each['tokens']:,}",
            percent(each["hard"] / each["tokens"]),
            number(each["mean"]),
        ]
        for each in figures["often_hard"]
    ]
    return _table(head, rows, class_="wide tall sortable")


def shown_piece(text: str) -> str:
    """A piece as people can see it: white space has signs."""
    return text.replace(" ", "␣").replace("\n", "↵").replace("\t", "⇥") or "∅"


def _ordinal(share: float) -> str:
    return "median" if share == 0.5 else f"{100 * share:.0f}th percentile"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], class_: str = "wide") -> Markup:
    top = tag("tr", *(tag("th", text, scope="col") for text in head))
    body = [tag("tr", *(tag("td", cell) for cell in row)) for row in rows]
    return tag("div", tag("table", tag("thead", top), tag("tbody", *body)), class_=class_)
