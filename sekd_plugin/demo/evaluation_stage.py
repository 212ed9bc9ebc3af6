"""The stage that translates the test set and scores every system."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from sekd_plugin.demo.layout import Layout
from sekd_plugin.demo.recipe import DemoRecipe
from sekd_plugin.demo.settings import DemoSettings
from sekd_plugin.demo.stage import Stage, State


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

    The test set is translated once; the further comparisons use the kept translations.
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

    def state() -> State | None:
        folder = translations_folder(layout)
        done = sum((folder / f"{training.name}.txt").is_file() for training in trainings)
        return State(done=done, total=len(trainings), unit="system")

    return Stage(
        name="evaluate",
        action=lambda: shutil.rmtree(layout.evaluation, ignore_errors=True),
        commands=commands,
        folder=layout.evaluation,
        made_from={
            "systems": {training.name: training.num_steps for training in trainings},
            "baselines": list(settings.baselines),
            "beam_size": settings.beam_size,
        },
        needs=("prepare", *(training.name for training in trainings)),
        redo=True,
        results=tuple(scores_file(layout, baseline) for baseline in settings.baselines),
        state=state,
        expected_seconds=settings.expected_seconds.get("evaluate", 0.0),
    )
