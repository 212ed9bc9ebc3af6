"""The sentences of an analysis, token by token, as plain data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from sekd_plugin.analysis.difficulty.analysis import Analysis
from sekd_plugin.analysis.difficulty.columns import Column
from sekd_plugin.analysis.difficulty.token_table import Likely


def sentence_figures(analysis: Analysis, columns: Sequence[Column], shown: int) -> dict[str, Any]:
    """The first ``shown`` sentences, and the text of every piece that occurs in them.

    Difficulties have six significant digits, so that a token is hard here where it is in the
    tables; the probabilities of the likeliest words are whole thousandths.
    """
    places, table = analysis.places, analysis.table
    counts = torch.bincount(places.sentences, minlength=len(analysis.sentences)).tolist()
    items = []
    used: set[int] = set()
    start = 0
    for sentence, count in zip(analysis.sentences[:shown], counts[:shown], strict=True):
        rows = slice(start, start + count)
        start += count
        words = places.targets[rows].tolist()
        teacher, student = _likely(table.teacher, rows), _likely(table.student, rows)
        used.update(words)
        for model in (teacher, student):
            used.update(word for listed in model["words"] for word in listed)
        items.append(
            {
                "source": sentence.source,
                "target": sentence.target,
                "file": sentence.file,
                "line": sentence.line,
                "words": words,
                "difficulty": [_digits(column.values[rows], 6) for column in columns],
                "entropy": _digits(table.entropy[rows], 3),
                "teacher": teacher,
                "student": student,
            }
        )
    return {"items": items, "pieces": {word: analysis.pieces[word] for word in sorted(used)}}


def _likely(likely: Likely, rows: slice) -> dict[str, Any]:
    thousandths = (likely.probabilities[rows] * 1000.0).round().to(torch.int64)
    return {
        "gold": _digits(likely.log_gold[rows].exp(), 3),
        "words": likely.words[rows].tolist(),
        "thousandths": thousandths.tolist(),
    }


def _digits(values: torch.Tensor, digits: int) -> list[float]:
    return [float(f"{value:.{digits}g}") for value in values.tolist()]
