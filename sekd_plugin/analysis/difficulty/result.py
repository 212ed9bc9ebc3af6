"""The folder that an analysis is written to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sekd_plugin.analysis.difficulty.charts import all_drawings, gamma_number, percent
from sekd_plugin.analysis.difficulty.page import SHARE_IN_TRAINING, introduction, render_page
from sekd_plugin.analysis.difficulty.tables import criterion_yaml, reference_start
from sekd_plugin.checksum import sha256_of_file
from sekd_plugin.corpus.result_folder import REPORT, disk_errors_named, partial_folder

PAGE, FIGURES = "analysis.html", "analysis.json"

_CHARTS = (
    *("gamma", "histogram", "quantiles", "hard-share", "by-entropy", "by-teacher-gap"),
    *("by-student-gap", "by-frequency", "by-position", "by-word-start", "by-length"),
)
_NAMES = frozenset({PAGE, FIGURES, REPORT, *(f"{name}.svg" for name in _CHARTS)})


def write_result(folder: Path, figures: Mapping[str, Any], made_from: Mapping[str, Any]) -> None:
    """Write page, figures, charts and, in ``report.json``, what they were made from.

    All is written in ``NAME.partial`` beside it, renamed at the end.

    Raises:
        SekdError: the folder came into being meanwhile, or cannot be written.
    """
    with disk_errors_named(folder), partial_folder(folder, _NAMES) as partial:
        texts = {
            PAGE: render_page(figures),
            FIGURES: json.dumps(figures, ensure_ascii=False, allow_nan=False) + "\n",
            **{f"{drawing.name}.svg": drawing.file() for drawing in all_drawings(figures)},
        }
        for name, text in texts.items():
            (partial / name).write_text(text, encoding="utf-8", newline="")
        report = {
            "made_from": made_from,
            "files": {
                name: {
                    "bytes": (partial / name).stat().st_size,
                    "sha256": sha256_of_file(partial / name),
                }
                for name in sorted(texts)
            },
        }
        text = json.dumps(report, indent=2, ensure_ascii=False) + "\n"
        (partial / REPORT).write_text(text, encoding="utf-8")


def read_figures(folder: Path) -> dict[str, Any]:
    """The figures of a finished analysis."""
    figures: dict[str, Any] = json.loads((folder / FIGURES).read_text(encoding="utf-8"))
    return figures


def summary(figures: Mapping[str, Any]) -> str:
    """What a terminal shows: Γ for each share of hard tokens, and a section to paste."""
    lines = [introduction(figures), "", f"{'hard':>6}  {'Γ':>8}  {'q(gold)':>8}  {'< 1 %':>6}"]
    for each in figures["start"]:
        lines.append(
            f"{percent(each['share']):>6}  {gamma_number(each['gamma']):>8}  "
            f"{percent(each['student_gold']):>8}  {percent(each['unbelieved']):>6}"
        )
    start = reference_start(figures)
    lines += [
        "q(gold) is the median over hard tokens of what the student gives the gold word.",
        SHARE_IN_TRAINING,
        "",
        criterion_yaml(start["config"]),
    ]
    return "\n".join(lines)
