"""The pages of reference leave nothing out, and say of it what is so."""

import dataclasses
import re
import typing

import pytest
import yaml
from component_sections import built_in, chosen_markdown, classes_markdown, reference_markdown
from configuration_page import configuration_markdown, sections
from fairseq2.utils.structured import StandardValueConverter
from ruamel.yaml import YAML
from sweep_page import sweep_markdown, sweep_sections

from sekd_plugin import criteria, divergences, proxies, thresholds
from sekd_plugin.construction import settings_of
from sekd_plugin.sweep.settings import RowSection, SweepSettings, TableSection
from sekd_plugin.toolkits.fairseq2.sections import TrainingConfig

RECIPE_YAML = YAML(typ="safe", pure=True)
REGISTRIES = (criteria, divergences, thresholds, proxies)
OWN_NAMES = [
    pytest.param(registry, name, id=name)
    for registry in REGISTRIES
    for name in registry.names()
    if registry.get(name).__module__.startswith("sekd_plugin.")
]


def places(kind, path=""):
    """Every key at any depth, and the class that it is a field of."""
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        place = f"{path}{field.name}"
        yield place
        for part in parts_of(hints[field.name]):
            if dataclasses.is_dataclass(part):
                yield from places(part, f"{place}.")


def parts_of(annotation):
    yield annotation
    for part in typing.get_args(annotation):
        yield from parts_of(part)


def described():
    """Place of a key → what the page says of it."""
    return {
        f"{section.path}.{key.name}" if section.path else key.name: key
        for section in sections()
        for key in section.keys
    }


def test_every_key_of_a_recipe_is_on_the_page_with_a_meaning():
    found = described()
    assert set(places(TrainingConfig)) <= set(found)
    assert [place for place, key in found.items() if not key.meaning] == []
    assert [place for place, key in found.items() if not key.type] == []


def test_every_default_on_the_page_is_the_one_that_training_starts_from():
    defaults = StandardValueConverter().unstructure(TrainingConfig())
    compared = 0
    for place, key in described().items():
        value = defaults
        for part in place.split("."):
            value = value.get(part, ...) if isinstance(value, dict) else ...
        if value is ... or isinstance(value, dict) or not key.default:
            continue
        assert as_yaml(key.default) == value, place
        compared += 1
    assert compared > 80


def as_yaml(text):
    """What a recipe would hold: its YAML is of version 1.2, where ``off`` is a word."""
    return text.encode().decode("unicode_escape") if "\\" in text else RECIPE_YAML.load(text)


def test_the_settings_of_optimizers_and_schedules_are_there():
    paths = {section.path for section in sections()}
    assert {"optimizer.config (adamw)", "lr_scheduler.config (cosine_annealing)"} <= paths
    assert described()["optimizer.config (adamw).lr"].default == "0.001"


def test_links_within_the_page_lead_to_a_section():
    text = configuration_markdown()
    anchors = set(re.findall(r"\{ #([\w-]+) \}", text))
    assert set(re.findall(r"\]\(#([\w-]+)\)", text)) <= anchors


def test_no_mark_of_another_markup_is_left():
    for text in (configuration_markdown(), reference_markdown()):
        assert "``" not in text
        assert not re.search(r":[a-z]+:`", text)


@pytest.mark.parametrize(("registry", "name"), OWN_NAMES)
def test_a_component_is_on_the_page_with_all_its_settings(registry, name):
    sectioned = dict(
        re.findall(r"^### `(\w+)`[^\n]*\n(.*?)(?=^##|\Z)", reference_markdown(), re.M | re.S)
    )
    text = sectioned[name]
    assert "\n> " in text, "no formula"
    assert "Source: " in text
    kind = registry.get(name)
    assert f"{kind.__module__}:{kind.__qualname__}" in text
    for setting, parameter in settings_of(kind).items():
        (row,) = re.findall(rf"^\| `{setting}` \| .*$", text, re.M)
        *_, default, meaning, _ = re.split(r" ?(?<!\\)\| ?", row)
        assert meaning, f"{name}.{setting} has no meaning"
        assert (default == "needed") == (parameter.default is parameter.empty)


@pytest.mark.parametrize("registry", (divergences, thresholds, proxies), ids=lambda r: r.kind)
def test_what_there_is_to_choose_from_is_on_the_page_that_helps_to_choose(registry, root):
    plural = {"divergence": "divergences", "threshold": "thresholds", "proxy": "proxies"}
    page = (root / "docs" / "choosing" / f"{registry.kind}.md").read_text(encoding="utf-8")
    assert f"<!-- generated: {plural[registry.kind]} -->" in page
    text = chosen_markdown(registry.kind, pictures=True)
    api = classes_markdown(registry.kind)
    for entry in built_in(registry.kind):
        assert f"### `{entry.name}`" in text
        kind = registry.get(entry.name)
        assert f"::: {kind.__module__}.{kind.__qualname__}\n" in api + "\n"


def test_every_page_asks_only_for_what_can_be_generated(page):
    from hooks import TEXTS

    assert set(re.findall(r"<!-- generated: (.+) -->", page.text)) <= set(TEXTS)


def test_every_page_is_in_the_navigation(root):
    navigation = yaml.safe_load((root / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]

    def files(entry):
        if isinstance(entry, str):
            return [entry]
        children = entry if isinstance(entry, list) else entry.values()
        return [file for child in children for file in files(child)]

    there = {str(path.relative_to(root / "docs")) for path in (root / "docs").rglob("*.md")}
    assert there <= set(files(navigation))


def test_every_key_of_a_sweep_file_is_on_its_page_with_a_meaning():
    found = {
        f"{section.path}.{key.name}" if section.path else key.name: key
        for section in sweep_sections()
        for key in section.keys
    }
    rows = {f"rows.NAME.{place}" for place in places(RowSection)}
    tables = {f"tables.NAME.{place}" for place in places(TableSection)}
    assert set(found) == set(places(SweepSettings)) | rows | tables
    assert [place for place, key in found.items() if not (key.meaning and key.type)] == []
    assert found["recipe"].default == found["seeds"].default == found["rows"].default == "needed"
    assert found["halving.keep"].default == "0.5" and found["test.beam_size"].default == "1"
    assert "``" not in sweep_markdown()
