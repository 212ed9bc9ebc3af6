"""The files in which a sweep tells what it has found."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from sekd_plugin.sweep.charts import curves_chart, scores_chart
from sekd_plugin.sweep.results import SweepResults, results_record
from sekd_plugin.sweep.tables import SIGNIFICANT, csv_table, latex_table, markdown_table

FILES: Mapping[str, Callable[[SweepResults], str]] = {
    "results.json": lambda results: (
        json.dumps(results_record(results), indent=2, ensure_ascii=False) + "\n"
    ),
    "results.csv": csv_table,
    "results.md": lambda results: results_page(results),
    "results.tex": latex_table,
    "scores.svg": scores_chart,
    "curves.svg": curves_chart,
}
"""Name → what writes it."""


def results_page(results: SweepResults) -> str:
    """The results with what one has to know to read them, as Markdown."""
    parts = [f"# {results.name}", *_failed(results)]
    if results.missing:
        parts.append(f"Rows without a result yet: {', '.join(results.missing)}.")
    if results.rows:
        parts += [markdown_table(results), *reading_notes(results)]
        parts += ["![BLEU by row](scores.svg)", "![Learning curves](curves.svg)"]
        parts += _choices(results)
        parts += [f"{metric}: `{text}`" for metric, text in results.signatures.items()]
    return "\n\n".join(parts) + "\n"


def reading_notes(results: SweepResults) -> list[str]:
    """How the numbers came about, in sentences."""
    notes = [
        f"{results.num_sentences:,} test sentences of `{results.test}`. Each run is scored at its "
        "checkpoint with the highest BLEU on the validation set; where a row was tuned, the trial "
        "with the highest mean of these is the one that was tested. Scores are mean ± sample "
        "standard deviation over seeds, the interval is Student's for the mean."
    ]
    if results.baseline is not None:
        notes.append(
            f"Differences from {results.baseline} are taken seed by seed and averaged. *Over "
            "seeds* is Student's 95 % interval of that mean: would other seeds say the same? *Over "
            "sentences* and p are from paired bootstrap resampling of the test sentences, "
            f"{results.bootstrap_samples:,} times, all seeds of both rows on the same sentences: "
            f"would another test set say the same? * is p < {SIGNIFICANT}."
        )
        compared = sum(bool(row.against) for row in results.rows)
        if compared > 1:
            notes[-1] += f" With {compared} comparisons one in twenty is below it by chance."
    return notes


def _failed(results: SweepResults) -> list[str]:
    return [
        f"**{each.run} failed**: {each.problem} (see `{each.log}`)" for each in results.failures
    ]


def _choices(results: SweepResults) -> list[str]:
    parts = []
    for row in results.rows:
        if len(row.tried) < 2:
            continue
        lines = [f"`{row.name}` was tuned; mean BLEU on the validation set:", ""]
        most = next(each.num_seeds for each in row.tried if each.name == row.trial)
        for each in row.tried:
            valid = "–" if each.valid is None else f"{each.valid:.2f}"
            when = each.given_up_after
            note = f", given up after step {when}" if when is not None else ""
            if when is None and each.num_seeds < most:
                note += f" ({each.num_seeds} of {most} seeds: the others have failed)"
            note += ", **chosen**" if each.name == row.trial else ""
            lines.append(f"- `{each.name}`: {valid}{note}")
        parts.append("\n".join(lines))
    return parts
