"""From what the stages left to the report and the table on the terminal."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import random
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from sekd_plugin.analysis.report import (
    Comparison,
    DifficultyHistogram,
    Example,
    Provenance,
    ReportResults,
    Run,
    System,
    render_page,
)
from sekd_plugin.demo.evaluation_stage import scores_file, translations_folder
from sekd_plugin.demo.plan import Plan
from sekd_plugin.demo.recipe import DemoRecipe
from sekd_plugin.demo.record import StageRecord, read_record
from sekd_plugin.new_file import replace_file
from sekd_plugin.recipe_file import read_yaml

_PACKAGES = ("sekd-plugin", "fairseq2", "torch", "sacrebleu", "sentencepiece")
_ROLES = {"teacher": "the teacher", "student": "where the continuations start"}


def write_demo_report(plan: Plan) -> bool:
    """Write the page from the finished stages; return whether it was not there already.

    The page carries a mark of the results and of the program that it was made from, and is made
    anew when either has changed.
    """
    mark = f"<!-- {_fingerprint(plan)} -->\n"
    file = plan.layout.report
    if file.is_file() and file.read_text(encoding="utf-8").endswith(mark):
        return False
    replace_file(file, render_page(read_results(plan)) + mark)
    return True


def score_lines(plan: Plan) -> list[str]:
    """The scores as lines for the terminal."""
    results = read_results(plan)
    metrics = list(results.systems[0].scores)
    head = ["system", *metrics, *(f"BLEU − {name}" for name in results.baselines)]
    rows = [head]
    for system in results.systems:
        row = [system.name, *(f"{system.scores[metric]:.2f}" for metric in metrics)]
        for baseline in results.baselines:
            found = system.comparisons.get(baseline, {}).get("BLEU")
            row.append("" if found is None else f"{found.difference:+.2f} (p={found.p_value:.3f})")
        rows.append(row)
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def read_results(plan: Plan) -> ReportResults:
    """Gather scores, curves, histograms and sentences."""
    layout, settings = plan.layout, plan.settings
    scores = {name: _json(scores_file(layout, name)) for name in settings.baselines}
    first = scores[settings.baselines[0]]
    records = {stage.name: read_record(layout.record(stage.name)) for stage in plan.stages}
    pairs = [json.loads(line) for line in _lines(layout.split("test"))]
    return ReportResults(
        title="Distilling a translation student: the demo",
        introduction=(
            "A teacher and a student were trained with cross-entropy on the sample corpus, English "
            "to German. From that one student, training went on under each criterion for the same "
            "number of steps with the same seed."
        ),
        systems=[_system(training, plan, scores) for training in plan.trainings],
        baselines=list(settings.baselines),
        num_test_sentences=int(first["sentences"]),
        runs=[_run(training, plan) for training in plan.trainings],
        examples=_examples(plan, pairs),
        examples_seed=settings.seed,
        provenance=_provenance(plan, first, records),
    )


def _system(training: DemoRecipe, plan: Plan, scores: Mapping[str, Any]) -> System:
    found: dict[str, float] = {}
    comparisons: dict[str, dict[str, Comparison]] = {}
    for baseline, record in scores.items():
        entry = next(each for each in record["systems"] if each["name"] == training.name)
        found = {score["metric"]: float(score["value"]) for score in entry["scores"]}
        comparisons[baseline] = {
            each["metric"]: Comparison(
                difference=each["difference"],
                low=each["low"],
                high=each["high"],
                p_value=each["p_value"],
            )
            for each in entry["comparisons"]
        }
    return System(
        name=training.name,
        role=_ROLES.get(training.name, "continued from the student"),
        parameters=_parameters(plan.layout.model(training.name, training.num_steps)),
        scores=found,
        comparisons=comparisons,
    )


def _parameters(model: Path) -> int:
    """How many numbers a checkpoint holds; tied matrices, which it holds twice, count once."""
    distinct: list[torch.Tensor] = []
    for file in sorted(model.rglob("*.pt")):
        for weight in torch.load(file, weights_only=True).values():
            if weight.ndim < 2 or not any(torch.equal(weight, other) for other in distinct):
                distinct.append(weight)
    return sum(weight.numel() for weight in distinct)


def _run(training: DemoRecipe, plan: Plan) -> Run:
    folder = plan.layout.run(training.name)
    histograms = [
        DifficultyHistogram(step=each["step"], edges=each["edges"], counts=each["counts"])
        for each in map(_json, (folder / "difficulty").glob("step_*.json"))
    ]
    return Run(
        name=training.name,
        criterion=str(training.content["criterion"]["name"]),
        num_steps=training.num_steps,
        started_from="student" if training.name in plan.settings.continuations else None,
        train=_records(folder / "metrics" / "train.jsonl"),
        valid=_records(folder / "metrics" / "valid.jsonl"),
        histograms=sorted(histograms, key=lambda each: each.step),
        settings=_flat(read_yaml(folder / "config.yaml")),
    )


def _examples(plan: Plan, pairs: list[dict[str, str]]) -> list[Example]:
    outputs = {
        training.name: _lines(translations_folder(plan.layout) / f"{training.name}.txt")
        for training in plan.trainings
    }
    count = min(plan.settings.num_sentences, len(pairs))
    chosen = sorted(random.Random(plan.settings.seed).sample(range(len(pairs)), count))
    return [
        Example(
            number=place + 1,
            source=pairs[place]["src"],
            reference=pairs[place]["tgt"],
            outputs={name: lines[place] for name, lines in outputs.items()},
        )
        for place in chosen
    ]


def _provenance(
    plan: Plan, scores: Mapping[str, Any], records: Mapping[str, StageRecord | None]
) -> Provenance:
    known = {name: record for name, record in records.items() if record is not None}
    limits = []
    shortened = [training.name for training in plan.trainings if training.overrides]
    if shortened:
        limits.append(
            f"Shortened by --steps ({', '.join(shortened)}): a look at the report, not a result."
        )
    if scores["sentences"] < 1000:
        limits.append(f"Scored on {scores['sentences']} sentences only.")
    return Provenance(
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        versions={name: version(name) for name in _PACKAGES},
        machine=f"{platform.machine()}, {os.cpu_count()} CPU cores, {platform.system()}",
        seconds={name: record.seconds for name, record in known.items()},
        commands={name: record.commands for name, record in known.items()},
        folders={"OUT": "the demo's folder", "RECIPES": "recipes/demo"},
        signatures={
            score["metric"]: score["signature"] for score in scores["systems"][0]["scores"]
        },
        limits=limits,
    )


def _fingerprint(plan: Plan) -> str:
    digest = hashlib.sha256()
    for stage in plan.stages:
        digest.update(plan.layout.record(stage.name).read_bytes())
    here = Path(__file__)
    for source in [here, *sorted((here.parents[1] / "analysis" / "report").glob("*.py"))]:
        digest.update(source.read_bytes())
    return digest.hexdigest()


def _flat(value: object, prefix: str = "") -> dict[str, object]:
    if not isinstance(value, Mapping):
        return {prefix: value}
    flat: dict[str, object] = {}
    for key, child in value.items():
        flat |= _flat(child, f"{prefix}.{key}" if prefix else str(key))
    return flat


def _json(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return content


def _records(file: Path) -> list[dict[str, float]]:
    if not file.is_file():
        return []
    records = []
    for line in _lines(file):
        record = json.loads(line)
        records.append({key: value for key, value in record.items() if key != "Time"})
    return records


def _lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8").removesuffix("\n").split("\n")
