"""Recipes with one mistake each, generated from the dataclasses that describe a recipe."""

from __future__ import annotations

import copy
import dataclasses
import random
import types
import typing
from collections.abc import Sequence
from pathlib import Path

import torch
from fairseq2.models.llama import LLaMAConfig
from fairseq2.recipe.config import AdamWConfig, CosineAnnealingLRConfig

from sekd_plugin import SelfEvolutionKD
from sekd_plugin.construction import settings_of
from sekd_plugin.toolkits.fairseq2.sections import CorpusFileSection, TrainingConfig

CONFIGURED = {
    "optimizer.config": AdamWConfig,
    "lr_scheduler.config": CosineAnnealingLRConfig,
    "model.config_overrides": LLaMAConfig,
    "dataset.train.0": CorpusFileSection,
    "dataset.valid.0": CorpusFileSection,
}
"""What stands where the schema itself says only ``object`` or ``list``."""

LEFT_OUT = {"teacher", "model.compile_options.backend_options", "dataset.valid"}
"""The teacher is missing in the recipe; the others take anything, or nothing at all."""

MAY_BE_NEGATIVE = {"optimizer.config.beta2_decay", "lr_scheduler.config.power"}

WRONG = ["abc", 3.5, 7, True, None, [1, 2], ["a", "b"], {"a": 1}, [], ""]


@dataclasses.dataclass(frozen=True)
class Mistake:
    """One mistake: where, what, and the key that the error must name."""

    kind: str
    key: str
    recipe: dict

    def __str__(self):
        return f"{self.kind}: {self.key}"


def schema(kind=TrainingConfig, prefix=""):
    """Key → annotation, of every setting of a recipe at any depth."""
    found = {}
    for name, annotation in typing.get_type_hints(kind).items():
        key = f"{prefix}{name}"
        if key in LEFT_OUT:
            continue
        found[key] = annotation
        for option in options(annotation):
            if dataclasses.is_dataclass(option):
                found |= schema(option, f"{key}.")
    if not prefix:
        for key, section in CONFIGURED.items():
            found |= schema(section, f"{key}.")
        # Strategies are chosen by name; their errors have tests of their own.
        for name, parameter in settings_of(SelfEvolutionKD).items():
            if {int, float, bool} & set(options(parameter.annotation)):
                found[f"criterion.config.{name}"] = parameter.annotation
    return found


def options(annotation):
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return typing.get_args(annotation)
    return (annotation,)


def fits(value, option):
    """Whether a value from YAML may stand for a type; independent of the product's own check."""
    origin, arguments = typing.get_origin(option), typing.get_args(option)
    if option in (object, typing.Any):
        return True
    if option in (None, type(None)):
        return value is None
    if origin is typing.Literal:
        return any(value == word and type(value) is type(word) for word in arguments)
    if origin in (list, Sequence):
        return isinstance(value, list) and all(fits_any(each, arguments[0]) for each in value)
    if origin is tuple:
        return (
            isinstance(value, list)
            and len(value) == len(arguments)
            and all(map(fits_any, value, arguments))
        )
    if origin is dict or dataclasses.is_dataclass(option):
        return isinstance(value, dict)
    if option is bool or option is str:
        return type(value) is option
    if option is int:
        return type(value) is int
    if option is float:
        return type(value) in (int, float)
    if option is Path:
        return isinstance(value, str) and value != ""
    if option is torch.dtype:
        return isinstance(value, str) and isinstance(getattr(torch, value, None), torch.dtype)
    return isinstance(value, str | dict)  # a strategy, by name


def fits_any(value, annotation):
    return any(fits(value, option) for option in options(annotation))


def with_value(recipe, key, value):
    """A copy of the recipe with ``value`` at ``key``; None at a list's place stays a list."""
    changed = copy.deepcopy(recipe)
    *parents, last = key.split(".")
    place = changed
    for name in parents:
        if isinstance(place, list):
            place = place[int(name)]
        else:
            if not isinstance(place.get(name), dict | list):
                place[name] = {}
            place = place[name]
    if isinstance(place, list):
        place[int(last)] = value
    else:
        place[last] = value
    return changed


def without(recipe, key):
    changed = copy.deepcopy(recipe)
    *parents, last = key.split(".")
    place = changed
    for name in parents:
        place = place[int(name)] if isinstance(place, list) else place[name]
    del place[last]
    return changed


def wrong_type(draw, recipe, keys):
    key = draw.choice([key for key in keys if not fits_any(object(), keys[key])])
    value = draw.choice([value for value in WRONG if not fits_any(value, keys[key])])
    return Mistake("type", key, with_value(recipe, key, value))


def out_of_range(draw, recipe, keys):
    numbers = [
        key
        for key, annotation in keys.items()
        if {int, float} & set(options(annotation)) and key not in MAY_BE_NEGATIVE
    ]
    key = draw.choice(numbers)
    values = [-1, -1000]
    if float in options(keys[key]):
        values += [-0.5, float("nan"), float("inf")]
    return Mistake("range", key, with_value(recipe, key, draw.choice(values)))


def misspelled(draw, recipe, keys):
    while True:
        key = draw.choice(list(keys))
        head, _, name = key.rpartition(".")
        place = draw.randrange(len(name))
        wrong = draw.choice(
            [name[:place] + name[place + 1 :], name + "s", name[:place] + "_" + name]
        )
        known = {other.rpartition(".")[2] for other in keys if other.rpartition(".")[0] == head}
        if wrong and not wrong.isdecimal() and wrong not in known:
            place = f"{head}.{wrong}" if head else wrong
            return Mistake("name", place, with_value(recipe, place, 1))


def misplaced(draw, recipe, keys):
    sections = [key for key in keys if any(map(dataclasses.is_dataclass, options(keys[key])))]
    key = draw.choice([key for key in keys if "." in key])
    head, _, name = key.rpartition(".")
    ways = ["too high", "too deep", "wrapped", "listed"]
    way = draw.choice(ways)
    top = {each for each in keys if "." not in each}
    if way == "too high" and name not in top:
        return Mistake("nesting", name, with_value(recipe, name, 1))
    if way == "too deep" and head in sections:
        own = head.rpartition(".")[2]
        if f"{head}.{own}" not in keys:
            return Mistake(
                "nesting", f"{head}.{own}", with_value(recipe, f"{head}.{own}", {name: 1})
            )
    if way == "wrapped" and not fits_any({"value": 1}, keys[key]):
        return Mistake("nesting", key, with_value(recipe, key, {"value": 1}))
    section = draw.choice(sections)
    return Mistake("nesting", section, with_value(recipe, section, [{"name": 1}]))


def missing(draw, recipe, keys):
    entry = copy.deepcopy(recipe["dataset"]["train"][0])
    split = draw.choice(["train", "valid"])
    count = draw.randint(1, 9)
    number = draw.randrange(count)
    entries = [dict(entry) for _ in range(count)]
    del entries[number]["path"]
    teacher = {"path": "/nowhere", "family": "llama"}
    ways = [
        ("dataset.train", without(recipe, "dataset.train")),
        ("dataset.train", with_value(recipe, "dataset.train", [])),
        ("tokenizer", with_value(without(recipe, "tokenizer.path"), "tokenizer.path", None)),
        ("tokenizer.family", with_value(recipe, "tokenizer.family", None)),
        ("model", with_value(recipe, "model.family", None)),
        ("teacher", with_value(recipe, "criterion", {"name": "word_kd"})),
        ("teacher", with_value(recipe, "teacher", {"family": "llama"})),
        ("teacher.family", with_value(recipe, "teacher", teacher | {"family": None})),
        (
            "criterion.config.threshold",
            with_value(
                recipe,
                "criterion",
                {"name": "self_evolution_kd", "config": {"threshold": {"config": {}}}},
            ),
        ),
    ]
    ways += [
        (f"dataset.{split}.{number}.path", with_value(recipe, f"dataset.{split}", entries))
    ] * 6
    key, changed = draw.choice(ways)
    return Mistake("missing", key, changed)


KINDS = (wrong_type, out_of_range, misspelled, misplaced, missing)


def mistakes(recipe, count, seed):
    """So many recipes, each with one mistake of the kinds in turn."""
    draw, keys = random.Random(seed), schema()
    return [KINDS[number % len(KINDS)](draw, recipe, keys) for number in range(count)]
