"""Every figure of an analysis as plain data: what ``analysis.json`` holds and the page shows."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from sekd_plugin.analysis.difficulty.analysis import Analysis
from sekd_plugin.analysis.difficulty.candidates import Candidate, candidates, decide
from sekd_plugin.analysis.difficulty.columns import (
    QUANTILES,
    Column,
    HardSet,
    hard_set,
    histogram_counts,
    histogram_edges,
)
from sekd_plugin.analysis.difficulty.hardest_tokens import often_hard
from sekd_plugin.analysis.difficulty.overlap import jaccard, jaccard_matrix, movement
from sekd_plugin.analysis.difficulty.parts import by_part
from sekd_plugin.analysis.difficulty.sentence_figures import sentence_figures

FORMAT = 1
"""Of the JSON; it changes when a key changes its meaning or goes."""

LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98)
"""The shares of tokens at which a sentence's colours change."""

Figures = dict[str, Any]
"""Plain data."""


def all_figures(analysis: Analysis) -> Figures:
    """Everything; a number that is not finite is None."""
    columns = analysis.columns()
    main = columns[0]
    reference = main.gamma(analysis.reference_ratio)
    shown = min(analysis.shown, len(analysis.sentences))
    figures = {
        "format": FORMAT,
        "criterion": {
            "teacher_weight": analysis.teacher_weight,
            "temperature": analysis.temperature,
            "difficulty": analysis.measures[analysis.main],
            "threshold": analysis.threshold,
        },
        "teacher": analysis.teacher,
        "checkpoints": [dataclasses.asdict(each) for each in analysis.checkpoints],
        "sentences": len(analysis.sentences),
        "tokens": main.values.numel(),
        "dropped": dict(analysis.dropped),
        "ratios": list(analysis.ratios),
        "reference": {
            "ratio": analysis.reference_ratio,
            "gamma": reference,
            "share": main.share_above(reference),
        },
        "start": [_start(analysis, columns[0], ratio) for ratio in analysis.ratios],
        "columns": _columns(analysis, columns),
        "parts": [
            dataclasses.asdict(part)
            for part in by_part(main, analysis.table, analysis.places, reference, analysis.ratios)
        ],
        "training": _training(analysis, columns),
        "divergences": _divergences(columns[: len(analysis.measures)], analysis.ratios),
        "thresholds": _thresholds(analysis, main),
        "often_hard": [
            {**dataclasses.asdict(each), "text": analysis.pieces[each.word]}
            for each in often_hard(analysis.places.targets, main.values, main.above(reference))
        ],
        "shown": sentence_figures(analysis, columns, shown),
    }
    found: Figures = finite(figures)
    return found


def finite(value: Any) -> Any:
    """The same with None for every number that is not finite: JSON has no infinity."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): finite(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [finite(child) for child in value]
    return value


def _start(analysis: Analysis, column: Column, ratio: float) -> Figures:
    found = hard_set(column, analysis.table, analysis.places.targets, ratio)
    return {**dataclasses.asdict(found), "config": _config(analysis, column, found)}


def _config(analysis: Analysis, column: Column, found: HardSet) -> Figures | None:
    """The criterion's settings that make this Γ what it is here; None where there is no Γ."""
    if not math.isfinite(found.gamma):
        return None
    config: Figures = {"teacher_weight": analysis.teacher_weight}
    if analysis.temperature != 1.0:
        config["temperature"] = analysis.temperature
    config["difficulty"] = analysis.measures[column.divergence]
    config["threshold"] = {"name": "fixed", "config": {"gamma": max(found.gamma, 0.0)}}
    return config


def _columns(analysis: Analysis, columns: Sequence[Column]) -> list[Figures]:
    own = [column for column in columns if column.divergence == analysis.main]
    shared = histogram_edges(own)
    targets = analysis.places.targets
    last = len(analysis.checkpoints) - 1
    found = []
    for column in columns:
        edges = shared if column in own else histogram_edges([column])
        hard = []
        for ratio in analysis.ratios:
            if column.checkpoint == last:
                each = hard_set(column, analysis.table, targets, ratio)
                hard.append({**dataclasses.asdict(each), "config": _config(analysis, column, each)})
            else:
                gamma = column.gamma(ratio)
                hard.append({"ratio": ratio, "gamma": gamma, "share": column.share_above(gamma)})
        found.append(
            {
                "divergence": column.divergence,
                "checkpoint": column.checkpoint,
                "mean": column.mean,
                "quantiles": [[share, column.quantile(share)] for share in QUANTILES],
                "histogram": {"edges": edges, "counts": histogram_counts(column, edges)},
                "hard": hard,
                "levels": [column.quantile(share) for share in LEVELS],
                "curve": _curve(column),
            }
        )
    return found


def _curve(column: Column) -> list[list[float]]:
    """Γ and the share of tokens above it, at 64 places from 0 to what one in 200 is above."""
    end = column.quantile(0.995)
    if not math.isfinite(end) or end <= 0.0:
        return []
    places = [end * number / 63 for number in range(64)]
    return [[gamma, column.share_above(gamma)] for gamma in places]


def _training(analysis: Analysis, columns: Sequence[Column]) -> Figures | None:
    """How tokens move from checkpoint to checkpoint; None where there is only one."""
    if not analysis.earlier:
        return None
    own = [*columns[len(analysis.measures) :], columns[0]]  # in the order of the checkpoints
    ratio = analysis.reference_ratio
    gamma = own[0].gamma(ratio)
    hard = [column.above(gamma) for column in own]
    pairs = list(zip(range(len(own)), range(1, len(own)), strict=False))
    if len(own) > 2:
        pairs.append((0, len(own) - 1))
    return {
        "gamma": gamma,
        "share_above": [column.share_above(gamma) for column in own],
        "moves": [
            {"from": a, "to": b, **dataclasses.asdict(movement(hard[a], hard[b]))} for a, b in pairs
        ],
        "same_ratio": jaccard_matrix([column.hardest(ratio) for column in own]),
    }


def _divergences(columns: Sequence[Column], ratios: Sequence[float]) -> Figures:
    """How far divergences agree on which tokens are hard, at equal hard ratios."""
    return {
        "names": [column.divergence for column in columns],
        "overlap": [
            {
                "ratio": ratio,
                "jaccard": jaccard_matrix([column.hardest(ratio) for column in columns]),
            }
            for ratio in ratios
        ],
    }


def _thresholds(analysis: Analysis, main: Column) -> Figures:
    """What each threshold makes of the difficulties, and how far they agree."""
    gammas = [main.gamma(ratio) for ratio in analysis.ratios]
    wanted = [*_configured(analysis), *analysis.own_thresholds]
    decided = [
        decide(candidate, main.values, analysis.places.sentences)
        for candidate in candidates([max(gamma, 0.0) for gamma in gammas], wanted)
    ]
    hard: list[Tensor] = [each.hard for each in decided]
    reference = main.hardest(analysis.reference_ratio)
    return {
        "rows": [
            {
                "name": each.candidate.name,
                "config": each.candidate.config,
                "label": each.candidate.label,
                "gamma": each.gamma,
                "share": float(each.hard.double().mean()),
                "sentences": _share_of_sentences(each.hard, analysis.places.sentences),
                "with_reference": jaccard(each.hard, reference),
            }
            for each in decided
        ],
        "jaccard": jaccard_matrix(hard),
    }


def _configured(analysis: Analysis) -> list[Candidate]:
    """The threshold of the criterion that was given."""
    if isinstance(analysis.threshold, str):
        return [Candidate(name=analysis.threshold, config={})]
    config = analysis.threshold.get("config") or {}
    assert isinstance(config, Mapping)
    return [Candidate(name=str(analysis.threshold["name"]), config=config)]


def _share_of_sentences(hard: Tensor, sentences: Tensor) -> float:
    """The share of the sentences that have a hard token."""
    counts = torch.bincount(sentences[hard], minlength=int(sentences[-1]) + 1)
    return float((counts > 0).double().mean())
