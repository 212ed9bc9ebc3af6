"""The stage that translates the test set and scores every system."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from sekd_plugin.demo.layout import Layout
from sekd_plugin.demo.recipe import DemoRecipe
from sekd_plugin.demo.record import read_record
from sekd_plugin.demo.settings import DemoSettings
from sekd_plugin.demo.stage import Stage, State
from sekd_plugin.new_file import replace_file


def scores_file(layout: Layout, baseline: str) -> Path:
    """The scores of all systems, compared with ``baseline``."""
    return layout.evaluation / f"against_{baseline}.json"


def translations_folder(layout: Layout) -> Path:
    """Where each system's translations of the test set are kept."""
    return layout.evaluation / "translations"


def evaluation_stage(
    settings: DemoSettings, trainings: Sequence[DemoRecipe], layout: Layout
) -> Stage:
    """``sekd evaluate`` of every training, once against each baseline.

    The test set is translated once; the further comparisons use the kept translations, and so
    does a later sitting, unless what they are made from has changed.
    """
    systems = [
        word
        for training in trainings
        for word in (
            "--system",
            f"{training.name}={layout.run(training.name)}@step_{training.num_steps}",
        )
    ]
    commands = tuple(
        (
            "evaluate",
            str(layout.split("test")),
            *systems,
            "--baseline",
            baseline,
            "--beam-size",
            str(settings.beam_size),
            "--translations",
            str(translations_folder(layout)),
            "--output",
            str(scores_file(layout, baseline)),
        )
        for baseline in settings.baselines
    )

    made_from = {
        "systems": {training.name: training.num_steps for training in trainings},
        "baselines": list(settings.baselines),
        "beam_size": settings.beam_size,
    }
    needs = ("prepare", *(training.name for training in trainings))
    results = tuple(scores_file(layout, baseline) for baseline in settings.baselines)

    def make_room() -> None:
        records = {name: read_record(layout.record(name)) for name in needs}
        origin = json.dumps(
            [made_from, {name: record and record.finished for name, record in records.items()}]
        )
        mark = layout.evaluation / "made_from.json"
        if mark.is_file() and mark.read_text(encoding="utf-8") == origin:
            for file in results:
                file.unlink(missing_ok=True)
            return
        shutil.rmtree(layout.evaluation, ignore_errors=True)
        replace_file(mark, origin)

    def state() -> State | None:
        folder = translations_folder(layout)
        done = sum((folder / f"{training.name}.txt").is_file() for training in trainings)
        return State(done=done, total=len(trainings), unit="system")

    return Stage(
        name="evaluate",
        action=make_room,
        commands=commands,
        folder=layout.evaluation,
        made_from=made_from,
        needs=needs,
        redo=True,
        results=results,
        state=state,
        expected_seconds=settings.expected_seconds.get("evaluate", 0.0),
    )
