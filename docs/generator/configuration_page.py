"""The configuration reference: every key of a recipe, from the dataclasses that define it."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, Union

import torch
from field_docstrings import field_docstrings
from toolkit_meanings import MEANINGS

from sekd_plugin.construction import describe
from sekd_plugin.toolkits.fairseq2.recipe_loading import COMPONENTS
from sekd_plugin.toolkits.fairseq2.sections import TrainingConfig


@dataclass(frozen=True)
class Key:
    """One key of a recipe."""

    name: str
    """Its name within its section."""

    type: str
    """What it takes, in words."""

    default: str
    """Its default as YAML would write it; empty for a section of its own."""

    meaning: str
    """What it does."""


@dataclass(frozen=True)
class Section:
    """A mapping of keys."""

    path: str
    """Where it stands, as ``trainer.fsdp``; empty for the recipe itself."""

    note: str
    """What is said before its keys."""

    keys: tuple[Key, ...]
    """In the order of their definition."""


@cache
def sections() -> tuple[Section, ...]:
    """Every section of a recipe, nested ones after the one that holds them."""
    return (*sections_of(TrainingConfig(), ""), *_chosen_by_name())


def configuration_markdown() -> str:
    """All sections as Markdown tables."""
    return "\n\n".join(section_markdown(section) for section in sections())


def sections_of(config: Any, path: str, note: str = "") -> Iterator[Section]:
    """The section that an instance of a configuration's class stands for, and those within it."""
    kind = type(config)
    hints = typing.get_type_hints(kind)
    meanings = field_docstrings(kind)
    keys: list[Key] = []
    nested: list[Section] = []
    for field in dataclasses.fields(kind):
        default = getattr(config, field.name)
        place = f"{path}.{field.name}" if path else field.name
        within = _section_type(hints[field.name])
        meaning = MEANINGS.get(f"{kind.__name__}.{field.name}") or meanings.get(field.name, "")
        words = type_in_words(hints[field.name])
        if within is None:
            shown = "needed" if field.name in _needed(kind) else _shown(default)
            keys.append(Key(field.name, words, shown, meaning))
            continue
        link = f"See [`{place}`](#{_anchor(place)})"
        keys.append(Key(field.name, words, "", f"{meaning} {link}".strip()))
        if default is None or isinstance(default, list | tuple):
            default = within(**({"path": Path()} if "path" in _needed(within) else {}))
        nested += sections_of(default, place)
    yield Section(path, note, tuple(keys))
    yield from nested


def _chosen_by_name() -> Iterator[Section]:
    """The settings of optimizers and learning-rate schedules, of which a recipe chooses one."""
    # The names that a recipe is checked against.
    for section, known in COMPONENTS.items():
        for name, kind in known.items():
            if kind is None:
                note = f"With `{section}.name: {name}` there is nothing to set."
                yield Section(f"{section}.config ({name})", note, ())
            else:
                note = f"With `{section}.name: {name}`."
                yield from sections_of(kind(), f"{section}.config ({name})", note)


def _section_type(annotation: Any) -> type[Any] | None:
    """The dataclass that a key holds, by itself, or null, or in a list."""
    for option in _options(annotation):
        if dataclasses.is_dataclass(option) and isinstance(option, type):
            return option
        if typing.get_origin(option) in (list, Sequence):
            (element,) = typing.get_args(option)
            if dataclasses.is_dataclass(element) and isinstance(element, type):
                return element
    return None


def _needed(kind: type[Any]) -> list[str]:
    return [
        field.name
        for field in dataclasses.fields(kind)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]


def _options(annotation: Any) -> tuple[Any, ...]:
    if typing.get_origin(annotation) in (Union, types.UnionType):
        return typing.get_args(annotation)
    return (annotation,)


def type_in_words(annotation: Any) -> str:
    """A type as a reader of YAML would say it."""
    words: list[str] = []
    for option in _options(annotation):
        origin, arguments = typing.get_origin(option), typing.get_args(option)
        if dataclasses.is_dataclass(option):
            words.append("a section")
        elif option is torch.dtype:
            words.append("a data type, as `float32` or `bfloat16`")
        elif origin in (list, Sequence):
            words.append(f"a list, each {type_in_words(arguments[0])}")
        elif origin is tuple:
            words.append(f"a list of {len(arguments)}, each {type_in_words(arguments[0])}")
        elif origin is Literal:
            words += [f"`{value}`" for value in arguments]
        elif origin in (dict, Mapping):
            words.append("a mapping")
        elif option is object:
            words.append("a mapping of settings")
        else:
            words.append(describe(option))
    return " or ".join(dict.fromkeys(words))


def _shown(default: object) -> str:
    if default is None or isinstance(default, bool):
        return {None: "null", True: "true", False: "false"}[default]
    if isinstance(default, torch.dtype):
        return str(default).removeprefix("torch.")
    if dataclasses.is_dataclass(default):
        return "its defaults"
    if isinstance(default, list | tuple):
        return f"[{', '.join(map(_shown, default))}]"
    if default == Path():
        return "needed"
    return str(default).encode("unicode_escape").decode() if default != "" else "''"


def _anchor(path: str) -> str:
    return path.replace(".", "-").replace(" ", "-").replace("(", "").replace(")", "") or "top"


def section_markdown(section: Section, whole: str = "The recipe") -> str:
    """A section as a heading and a table; ``whole`` is the heading of what has no path."""
    title = f"`{section.path}`" if section.path else whole
    lines = [f"## {title} {{ #{_anchor(section.path)} }}", ""]
    if section.note:
        lines += [section.note, ""]
    if section.keys:
        lines += ["| key | takes | default | meaning |", "|---|---|---|---|"]
    for key in section.keys:
        default = f"`{key.default}`" if key.default else ""
        cells = (f"`{key.name}`", key.type, default, key.meaning)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)
