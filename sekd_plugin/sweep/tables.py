"""The results as tables: for a terminal, for Markdown, for LaTeX, and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from sekd_plugin.sweep.results import Against, RowResult, SweepResults
from sekd_plugin.sweep.statistics import Summary

SIGNIFICANT = 0.05


def table_cells(results: SweepResults) -> list[list[str]]:
    """The table, its head first: one line a row, scores as mean ± deviation over seeds."""
    metrics = list(results.rows[0].summaries) if results.rows else []
    head = ["row", "seeds", *(["BLEU", "95 % interval", *metrics[1:]] if metrics else [])]
    if results.baseline is not None:
        head += [f"BLEU − {results.baseline}", "over seeds", "over sentences", "p"]
    lines = [head]
    for row in results.rows:
        summaries = row.summaries
        line = [_name(row), f"{len(row.seeds)}"]
        line += [_mean(summaries["BLEU"]), _interval(summaries["BLEU"])]
        line += [_mean(summaries[metric]) for metric in metrics[1:]]
        if results.baseline is not None:
            line += _against(row.against.get("BLEU"))
        lines.append(line)
    return lines


def text_table(results: SweepResults) -> str:
    """For a terminal."""
    rows = table_cells(results)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def markdown_table(results: SweepResults) -> str:
    """For a page."""
    head, *rows = table_cells(results)
    cells = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in cells]
    return "\n".join("| " + " | ".join(row) + " |" for row in escaped)


def latex_table(results: SweepResults) -> str:
    """For a paper, with the package booktabs."""
    head, *rows = [[_latex(cell) for cell in row] for row in table_cells(results)]
    body = " \\\\\n".join(" & ".join(row) for row in rows)
    return (
        "% needs \\usepackage{booktabs}\n"
        f"\\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}\n\\toprule\n"
        f"{' & '.join(head)} \\\\\n\\midrule\n{body} \\\\\n\\bottomrule\n\\end{{tabular}}\n"
    )


def csv_table(results: SweepResults) -> str:
    """Every reported run: a line for each row and seed."""
    metrics = list(results.rows[0].summaries) if results.rows else []
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["row", "trial", "seed", "step", "valid BLEU", *metrics])
    for row in results.rows:
        for run in row.seeds:
            scores = [repr(run.scores[metric]) for metric in metrics]
            writer.writerow([row.name, row.trial, run.seed, run.step, repr(run.valid), *scores])
    return text.getvalue()


def _name(row: RowResult) -> str:
    """A row's name, with what tuning chose."""
    if row.trial == row.name:
        return row.name
    return f"{row.name} ({row.trial.removeprefix(f'{row.name}/')})"


def _mean(found: Summary) -> str:
    if found.deviation is None:
        return f"{found.mean:.2f}"
    return f"{found.mean:.2f} ± {found.deviation:.2f}"


def _interval(found: Summary) -> str:
    if found.low is None or found.high is None:
        return ""
    return f"{found.low:.2f} to {found.high:.2f}"


def _against(found: Against | None) -> list[str]:
    if found is None:
        return ["", "", "", ""]
    seeds, sentences = found.over_seeds, found.over_sentences
    over_seeds = ""
    if seeds.low is not None and seeds.high is not None:
        over_seeds = f"{signed(seeds.low)} to {signed(seeds.high)}"
    mark = "*" if sentences.p_value < SIGNIFICANT else ""
    return [
        signed(sentences.difference) + mark,
        over_seeds,
        f"{signed(sentences.low)} to {signed(sentences.high)}",
        f"{sentences.p_value:.3f}",
    ]


def signed(value: float) -> str:
    """With its sign, a true minus, and two decimals."""
    return f"{value:+.2f}".replace("-", "−")


_LATEX: Sequence[tuple[str, str]] = (
    ("\\", "\\textbackslash{}"), ("{", "\\{"), ("}", "\\}"), ("_", "\\_"), ("%", "\\%"),
    ("&", "\\&"), ("#", "\\#"), ("$", "\\$"), ("±", "$\\pm$"), ("−", "$-$"),
)  # fmt: skip


def _latex(text: str) -> str:
    escaped = dict(_LATEX)
    return "".join(escaped.get(letter, letter) for letter in text)
