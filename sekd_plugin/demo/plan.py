"""The stages of the demo, in order."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sekd_plugin.demo.evaluation_stage import evaluation_stage
from sekd_plugin.demo.layout import Layout
from sekd_plugin.demo.preparation_stage import preparation_stage
from sekd_plugin.demo.recipe import DemoRecipe, read_demo_recipe
from sekd_plugin.demo.settings import DemoSettings, read_settings
from sekd_plugin.demo.stage import Stage
from sekd_plugin.demo.training_stage import training_stage


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a demo does."""

    settings: DemoSettings
    """What ``demo.yaml`` says."""

    layout: Layout
    """Where things lie."""

    trainings: tuple[DemoRecipe, ...]
    """Teacher, student, and the continuations."""

    stages: tuple[Stage, ...]
    """All that runs programs; the report comes after them."""


def make_plan(
    layout: Layout, recipes: Path, most_steps: int | None, most_sentences: int | None
) -> Plan:
    """Read the recipes and lay out the stages.

    Args:
        layout: where things lie.
        recipes: the folder with ``demo.yaml`` and the training recipes.
        most_steps: no training is longer; None trains as the recipes say.
        most_sentences: no more validation and test sentences are used; None uses all.

    Raises:
        SekdError: a file or setting that cannot be used.
    """
    settings = read_settings(recipes)

    def recipe(name: str) -> DemoRecipe:
        return read_demo_recipe(recipes / f"{name}.yaml", most_steps)

    teacher, student = recipe("teacher"), recipe("student")
    continuations = tuple(map(recipe, settings.continuations))
    expected = settings.expected_seconds
    trainings = (teacher, student, *continuations)
    stages = [preparation_stage(settings, teacher, layout, most_sentences)]
    stages += [
        training_stage(
            training,
            layout,
            start=student if training in continuations else None,
            teacher=teacher,
            expected_seconds=expected.get(training.name, 0.0),
        )
        for training in trainings
    ]
    stages.append(evaluation_stage(settings, trainings, layout))
    return Plan(settings=settings, layout=layout, trainings=trainings, stages=tuple(stages))
