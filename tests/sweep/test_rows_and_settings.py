"""From a sweep file to rows, trials, and the recipe of every run."""

import pytest

from sekd_plugin.errors import ConfigError
from sekd_plugin.sweep.expansion import Trial, expand, laid_over, settings_of_run
from sekd_plugin.sweep.settings import RowSection


def rows(common=None, **sections):
    return expand({name: RowSection(**each) for name, each in sections.items()}, common or {})


def test_a_grid_makes_rows_and_tuning_makes_trials_of_each():
    found = rows(
        ours={"grid": {"a.beta": [0, 0.5], "a.flag": [True]}, "tune": {"b.lambda": [1, 2]}},
        plain={},
    )
    assert [row.name for row in found] == ["ours,beta=0,flag=true", "ours,beta=0.5,flag=true",
                                           "plain"]  # fmt: skip
    assert [row.is_tuned for row in found] == [True, True, False]
    first, second = found[0].trials
    assert first.name == "ours,beta=0,flag=true/lambda=1"
    assert second.settings == {"a.beta": 0, "a.flag": True, "b.lambda": 2}
    assert [trial.name for trial in found[2].trials] == ["plain"]


def test_values_that_make_no_name_are_given_one():
    section = {"name": "dynamic", "config": {}}
    (one, two) = rows(x={"grid": {"criterion.threshold": {"moving": section, "none": None}}})
    assert one.name == "x,threshold=moving"
    assert one.trials[0].settings == {"criterion.threshold": section}
    assert two.trials[0].settings == {"criterion.threshold": None}


def test_a_name_can_stand_for_several_settings():
    sizes = {"small": {"model.dim": 8, "model.layers": 1}, "large": {"model.dim": 16}}
    found = rows(x={"grid": {"settings.size": sizes, "seeds.b": [3]}})
    assert [row.name for row in found] == ["x,size=small,b=3", "x,size=large,b=3"]
    assert found[0].trials[0].settings == {"model.dim": 8, "model.layers": 1, "seeds.b": 3}


def test_keys_that_end_alike_are_told_apart_by_what_stands_before():
    (row,) = rows(x={"grid": {"criterion.config.name": [1], "optimizer.config.name": [2]}})
    assert row.name == "x,criterion.config.name=1,optimizer.config.name=2"


def test_what_is_said_of_a_row_goes_before_what_is_said_of_all():
    common = {"teacher.path": "there", "lr": 1, "model.path": "start"}
    (row,) = rows(common, x={"settings": {"teacher": None, "lr": 2}})
    assert row.trials[0].settings == {"teacher": None, "lr": 2, "model.path": "start"}


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"grid": {"a": 3}}, r"rows.x.grid.a: 3 is not allowed; it must be a list, or a mapping"),
        ({"grid": {"a": []}}, "rows.x.grid.a: is empty"),
        ({"tune": {"a": [1, 1]}}, "rows.x.tune.a: '1' stands there twice"),
        ({"tune": {"a": ["runs/a"]}}, "'runs/a' makes no name; write 'NAME: VALUE'"),
        ({"tune": {"a": [[1, 2]]}}, "makes no name"),
        ({"tune": {"a": {"b/c": 1}}}, "the name 'b/c' is not allowed"),
        ({"grid": {"settings.size": {"small": 3}}}, "size.small: 3 must be a mapping"),
    ],
)
def test_values_that_cannot_be_used_are_named_with_their_place(section, words):
    with pytest.raises(ConfigError, match=words):
        rows(x=section)


def test_a_name_that_a_folder_could_not_have_is_refused():
    with pytest.raises(ConfigError, match="the name 'x,beta=1' is not allowed"):
        rows(**{"x,beta=1": {}})
    with pytest.raises(ConfigError, match="seed_1' is not allowed"):
        rows(seed_1={})


def test_the_seed_is_put_in_wherever_it_is_asked_for():
    trial = Trial(
        name="x",
        settings={
            "model.path": "start/{seed}/model",
            "other.seed": "{seed}",
            "dataset.train": [{"path": "noise_{seed}.jsonl", "weight": 0.5}],
            "dataset.template": "to German: {source}",
        },
    )
    assert settings_of_run(trial, 7) == {
        "common.seed": 7,
        "model.path": "start/7/model",
        "other.seed": 7,
        "dataset.train": [{"path": "noise_7.jsonl", "weight": 0.5}],
        "dataset.template": "to German: {source}",
    }
    assert settings_of_run(Trial(name="x", settings={"common.seed": 1}), 7) == {"common.seed": 1}


def test_a_setting_replaces_all_that_stood_at_its_key():
    recipe = {"a": {"b": {"c": 1}, "d": 2}, "e": None}
    found = laid_over(recipe, {"a.b.x": 5, "a.b": {"y": 4}, "e.f": 6, "g": [1]})
    assert found == {"a": {"b": {"y": 4, "x": 5}, "d": 2}, "e": {"f": 6}, "g": [1]}
    assert recipe == {"a": {"b": {"c": 1}, "d": 2}, "e": None}
