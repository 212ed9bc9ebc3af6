"""The page: scores, curves, difficulties, sentences, and where all of it comes from."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from sekd_plugin.analysis.report.histogram_chart import histogram_chart
from sekd_plugin.analysis.report.line_chart import line_chart
from sekd_plugin.analysis.report.markup import Markup, join, tag
from sekd_plugin.analysis.report.results import Example, Provenance, ReportResults, Run
from sekd_plugin.analysis.report.score_table import reading, score_table
from sekd_plugin.analysis.report.series import NUM_STYLES, Series
from sekd_plugin.analysis.report.style import STYLE


def render_page(results: ReportResults) -> str:
    """The whole page as text; it needs neither the network nor JavaScript."""
    body = join(
        [
            tag("h1", results.title),
            tag("p", results.introduction),
            *(tag("p", limit, class_="warn") for limit in results.provenance.limits),
            tag("h2", "Scores"),
            score_table(results),
            tag(
                "p",
                f"{results.num_test_sentences:,} test sentences. BLEU and chrF2: higher is better; "
                "TER: lower is better. Differences with their 95 % interval and two-sided p from "
                "paired bootstrap resampling; in colour where p < 0.05. One training a system: "
                "another seed would move each score a little.",
                class_="soft",
            ),
            tag("h2", "What this says"),
            reading(results, [run.name for run in results.runs if run.started_from is not None]),
            tag("h2", "Training"),
            tag("div", *_training_charts(results.runs), class_="charts"),
            tag("h2", "Hard tokens"),
            tag("div", *_difficulty_charts(results.runs), class_="charts"),
            tag("h2", "Sentences"),
            tag(
                "p",
                f"Test sentences drawn with the seed {results.examples_seed}, not chosen.",
                class_="soft",
            ),
            *map(_sentence, results.examples),
            tag("h2", "Where the numbers come from"),
            *_provenance(results.provenance, results.runs),
        ]
    )
    head = join(
        [
            Markup('<meta charset="utf-8"/>'),
            Markup('<meta name="viewport" content="width=device-width, initial-scale=1"/>'),
            tag("title", results.title),
            tag("style", STYLE),
        ]
    )
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>{body}</body></html>\n'


def _training_charts(runs: Sequence[Run]) -> list[Markup]:
    continued = [run for run in runs if run.started_from is not None]
    others = [run for run in runs if run.started_from is None]
    charts = []
    for title, group in (("Before distillation", others), ("From one student", continued)):
        charts.append(
            line_chart(
                f"{title}: cross-entropy on the validation set",
                [
                    Series(
                        name=run.name,
                        points=_points(run.valid, "Cross-Entropy"),
                        style=runs.index(run) % NUM_STYLES,
                    )
                    for run in group
                ],
                x_label="training step",
                y_label="nats a target token",
                caption="−log q of the gold word at temperature 1: comparable between criteria.",
            )
        )
    charts.append(
        line_chart(
            "The criteria's own losses, in training",
            [
                Series(
                    name=run.name,
                    points=_points(run.train, "Loss"),
                    style=runs.index(run) % NUM_STYLES,
                    faint=True,
                )
                for run in continued
            ],
            x_label="training step",
            y_label="nats a target token",
            caption="Each criterion measures another thing: compare slopes, not heights.",
        )
    )
    return [chart for chart in charts if chart]


def _difficulty_charts(runs: Sequence[Run]) -> list[Markup]:
    charts = []
    for run in runs:
        gamma = _points(run.train, "Gamma")
        if not gamma:
            continue
        style = runs.index(run) % NUM_STYLES
        median = Series(
            name="median difficulty",
            points=_points(run.train, "Difficulty p50"),
            style=(style + 1) % NUM_STYLES,
            faint=True,
        )
        charts.append(
            line_chart(
                f"{run.name}: Γ over training",
                [Series(name="Γ", points=gamma, style=style), median],
                x_label="training step",
                y_label="nats",
                caption="Above Γ a word is hard. Until one step is finished Γ is infinite.",
                zero=True,
            )
        )
        charts.append(
            line_chart(
                f"{run.name}: hard ratio over training",
                [Series(name="hard ratio", points=_points(run.train, "Hard Ratio"), style=style)],
                x_label="training step",
                y_label="share of target words",
                caption="The share of target words that were above Γ.",
                zero=True,
            )
        )
        ends = (
            [run.histograms[0], run.histograms[-1]] if len(run.histograms) > 1 else run.histograms
        )
        charts.append(
            histogram_chart(
                f"{run.name}: difficulty, early and late",
                list(ends),
                [_at(run.valid, each.step, "Gamma") for each in ends],
                [(style + 1) % NUM_STYLES, style],
            )
        )
    return [chart for chart in charts if chart]


def _points(records: Sequence[Mapping[str, float]], key: str) -> list[tuple[float, float]]:
    """(step, value) of the records that have the value; of a repeated step the last."""
    found = {float(each["Step"]): float(each[key]) for each in records if key in each}
    return sorted(found.items())


def _at(records: Sequence[Mapping[str, float]], step: int, key: str) -> float | None:
    return dict(_points(records, key)).get(float(step))


def _sentence(example: Example) -> Markup:
    rows = [
        tag("dt", "source"),
        tag("dd", example.source, class_="given"),
        tag("dt", "reference"),
        tag("dd", example.reference, class_="given"),
    ]
    for name, output in example.outputs.items():
        rows += [tag("dt", name), tag("dd", output)]
    heading = tag("h3", f"Sentence {example.number}")
    return tag("section", heading, tag("dl", *rows), class_="sentence card")


def _provenance(provenance: Provenance, runs: Sequence[Run]) -> list[Markup]:
    facts = [
        f"Written {provenance.date} on {provenance.machine}.",
        "Software: " + ", ".join(f"{k} {v}" for k, v in provenance.versions.items()) + ".",
        "Wall time: "
        + ", ".join(f"{stage} {seconds:.0f} s" for stage, seconds in provenance.seconds.items())
        + f"; {sum(provenance.seconds.values()) / 60:.1f} minutes in all.",
    ]
    signatures = [f"{metric}: {text}" for metric, text in provenance.signatures.items()]
    commands = [
        shlex.join(["sekd", *command[1:]] if command[:1] == ["sekd"] else list(command))
        for group in provenance.commands.values()
        for command in group
    ]
    folders = [f"${name} is {where}" for name, where in provenance.folders.items()]
    parts = [tag("ul", *(tag("li", fact) for fact in facts))]
    parts.append(_folded("Signatures of the scores", "\n".join(signatures)))
    parts.append(_folded("Commands", "\n".join([*folders, "", *commands])))
    for run in runs:
        settings = "\n".join(f"{key}: {value}" for key, value in run.settings.items())
        parts.append(_folded(f"Settings of {run.name}", settings))
    return parts


def _folded(title: str, text: str) -> Markup:
    return tag("details", tag("summary", title), tag("pre", text))
