"""The stages that train."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from sekd_plugin.demo.layout import Layout
from sekd_plugin.demo.recipe import DemoRecipe
from sekd_plugin.demo.stage import Stage
from sekd_plugin.demo.training_state import training_state


def training_stage(
    recipe: DemoRecipe,
    layout: Layout,
    *,
    start: DemoRecipe | None,
    teacher: DemoRecipe,
    expected_seconds: float,
) -> Stage:
    """The training of one recipe.

    Args:
        recipe: the recipe.
        layout: where things lie.
        start: the training from whose last checkpoint this one continues; None starts afresh.
        teacher: the teacher's recipe, for those that need a teacher.
        expected_seconds: on a quiet machine, in full length.
    """
    settings = [
        f"tokenizer.path={quoted(layout.vocabulary)}",
        f"dataset.train=[{{path: {quoted(layout.split('train'))}}}]",
        f"dataset.valid=[{{path: {quoted(layout.split('valid'))}}}]",
    ]
    needs = ["prepare"]
    if start is not None:
        settings.append(f"model.path={quoted(layout.model(start.name, start.num_steps))}")
        needs.append(start.name)
    if recipe.needs_teacher:
        settings.append(f"teacher.path={quoted(layout.model(teacher.name, teacher.num_steps))}")
        needs.append(teacher.name)
    run = layout.run(recipe.name)
    return Stage(
        name=recipe.name,
        commands=(
            (
                "train",
                str(run),
                "--config-file",
                str(recipe.file),
                "--config",
                *settings,
                *recipe.overrides,
            ),
        ),
        folder=run,
        made_from={"recipe": recipe.content, "num_steps": recipe.num_steps},
        needs=tuple(needs),
        results=(layout.model(recipe.name, recipe.num_steps),),
        state=partial(training_state, run, recipe.num_steps),
        expected_seconds=expected_seconds,
    )


def quoted(path: Path) -> str:
    """A path as a YAML string, whatever characters it has."""
    return "'" + str(path).replace("'", "''") + "'"
