"""The scores of several systems as a table for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sekd_plugin.evaluation.scores import Score
from sekd_plugin.evaluation.significance import Comparison


@dataclass(frozen=True, kw_only=True)
class SystemResult:
    """One system's scores, and how it compares with the baseline."""

    name: str
    """The name it was given."""

    scores: Sequence[Score]
    """Its scores."""

    comparisons: Sequence[Comparison] = ()
    """Its differences from the baseline; none for the baseline itself."""


def score_table(results: Sequence[SystemResult], baseline: str | None) -> str:
    """A table with one row a system.

    A difference from the baseline stands behind its score, with * where p < 0.05.
    """
    metrics = [score.metric for score in results[0].scores]
    header = ["system", *metrics]
    rows = [header]
    for result in results:
        differences = {comparison.metric: comparison for comparison in result.comparisons}
        row = [result.name + (" (baseline)" if result.name == baseline else "")]
        for score in result.scores:
            cell = f"{score.value:.2f}"
            if score.metric in differences:
                found = differences[score.metric]
                mark = "*" if found.p_value < 0.05 else " "
                cell += f" ({found.difference:+.2f}{mark} p={found.p_value:.3f})"
            row.append(cell)
        rows.append(row)
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])
