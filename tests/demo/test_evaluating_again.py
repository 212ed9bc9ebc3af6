"""The demo's evaluation, interrupted: what was translated is not translated again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sekd_plugin.demo.evaluation_stage import evaluation_stage, scores_file, translations_folder
from sekd_plugin.demo.layout import Layout
from sekd_plugin.demo.recipe import read_demo_recipe
from sekd_plugin.demo.record import StageRecord, write_record
from sekd_plugin.demo.settings import read_settings
from sekd_plugin.recipes_folder import recipes_folder

NEEDED = ("prepare", "cross_entropy", "word_kd", "self_evolution_kd")


def note(layout: Layout, name: str, finished: str) -> None:
    record = StageRecord(
        stage=name, made_from={}, needs={}, commands=[], seconds=1.0, finished=finished
    )
    write_record(layout.record(name), record)


@pytest.mark.parametrize("change", ["nothing", "a training", "the search"])
def test_translations_are_kept_unless_what_they_are_made_from_changed(tmp_path, change):
    layout = Layout(tmp_path)
    folder = recipes_folder() / "demo"
    settings = read_settings(folder)
    trainings = [read_demo_recipe(folder / f"{name}.yaml") for name in NEEDED[1:]]
    for name in NEEDED:
        note(layout, name, "on Monday")
    evaluation_stage(settings, trainings, layout).action()
    kept = translations_folder(layout) / "word_kd.txt"
    kept.parent.mkdir()
    kept.write_text("Öffne das Dokument\n")
    scores = scores_file(layout, settings.baselines[0])
    scores.write_text("{}")

    if change == "a training":
        note(layout, "word_kd", "on Tuesday")
    if change == "the search":
        settings = replace(settings, beam_size=settings.beam_size + 1)
    evaluation_stage(settings, trainings, layout).action()

    assert kept.exists() is (change == "nothing")
    assert not scores.exists()
