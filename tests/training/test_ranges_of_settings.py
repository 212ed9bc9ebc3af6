"""Numbers of fairseq2's own settings are checked before anything starts, each by its key."""

import pytest
import yaml
from fairseq2.runtime.dependency import get_dependency_resolver
from malformed_recipes import mistakes

from sekd_plugin.errors import ConfigError, SekdError
from sekd_plugin.toolkits.fairseq2.preflight import check_recipe
from sekd_plugin.toolkits.fairseq2.recipe_loading import load_recipe

OUT_OF_RANGE = [
    ("optimizer.config.lr", -1, "0 <= lr"),
    ("optimizer.config.betas", [0.9, 1.0], "0 <= betas < 1"),
    ("optimizer.config.weight_decay", float("nan"), "a finite number"),
    ("lr_scheduler.config.cycle_len", 0, "1 <= cycle_len"),
    ("trainer.max_grad_norm", 0.0, "0 < max_grad_norm"),
    ("trainer.fp16_loss_scale", [128.0, 0.0], "0 < fp16_loss_scale"),
    ("regime.publish_metrics_every_n_steps", 0, "1 <= publish_metrics_every_n_steps"),
    ("regime.checkpoint_after_n_steps", -1, "0 <= checkpoint_after_n_steps"),
    ("common.seed", -1, "0 <= seed"),
    ("common.torch.num_threads", 0, "1 <= num_threads"),
    ("model.config_overrides.dropout_p", 1.0, "0 <= dropout_p < 1"),
    ("model.config_overrides.num_layers", 0, "1 <= num_layers"),
]


def nested(key, value):
    for name in reversed(key.split(".")):
        value = {name: value}
    return value


@pytest.mark.parametrize(("key", "value", "allowed"), OUT_OF_RANGE)
def test_a_number_out_of_range_is_named_with_what_is_allowed(workshop, key, value, allowed):
    with pytest.raises(ConfigError) as caught:
        check_recipe(load_recipe(workshop.recipe, [nested(key, value)]), get_dependency_resolver())
    assert caught.value.key.removesuffix(".1") == key
    assert allowed in caught.value.problem


def test_a_list_of_numbers_holds_numbers(workshop):
    with pytest.raises(ConfigError, match=r"optimizer\.config\.betas\.1: 'b' is not allowed"):
        load_recipe(workshop.recipe, [nested("optimizer.config.betas", [0.9, "b"])])


def test_a_file_without_a_path_is_named(workshop):
    with pytest.raises(ConfigError, match=r"dataset\.train\.1\.path: is missing"):
        load_recipe(workshop.recipe, [nested("dataset.train", [{"path": "a"}, {"weight": 2.0}])])


def test_forty_malformed_recipes_name_their_keys(workshop):
    recipe = yaml.safe_load(workshop.recipe.read_text())
    file = workshop.folder / "malformed.yaml"
    for mistake in mistakes(recipe, 40, seed=5):
        file.write_text(yaml.safe_dump(mistake.recipe))
        with pytest.raises(SekdError) as caught:
            check_recipe(load_recipe(file, []), get_dependency_resolver())
        assert str(caught.value).startswith((f"{mistake.key}:", f"{mistake.key}.")), mistake
