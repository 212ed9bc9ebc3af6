"""Checks a recipe, as read from YAML, against the dataclasses that describe it.

fairseq2 checks as well, but answers an unknown key or a wrong type with a long traceback.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Union

import torch

from sekd_plugin.construction import describe
from sekd_plugin.errors import ConfigError, did_you_mean
from sekd_plugin.toolkits.fairseq2.ranges import check_range


def check_section(section: object, kind: type[Any], key: str) -> None:
    """Check that a mapping holds only known keys, none too few, and values that they may have.

    It goes to any depth.

    Raises:
        ConfigError: it does not; the error names the key, the value and what is allowed.
    """
    if not isinstance(section, Mapping):
        raise ConfigError(key, f"{section!r} is not allowed; it must be a mapping of settings")
    hints = typing.get_type_hints(kind)
    known = {field.name for field in dataclasses.fields(kind) if field.init}
    for name, value in section.items():
        place = f"{key}.{name}" if key else str(name)
        if name not in known:
            raise ConfigError(place, f"is not a known key; {did_you_mean(name, known)}")
        check_value(value, hints[name], place)
        check_range(kind, name, value, place)
    for field in dataclasses.fields(kind):
        has_default = not (
            field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        )
        if field.init and not has_default and field.name not in section:
            raise ConfigError(f"{key}.{field.name}" if key else field.name, "is missing")


def check_value(value: object, annotation: Any, key: str) -> None:
    """Check one value against a type annotation.

    Raises:
        ConfigError: it is of another type.
    """
    options = (
        typing.get_args(annotation)
        if typing.get_origin(annotation) in (Union, types.UnionType)
        else (annotation,)
    )
    for option in options:
        if dataclasses.is_dataclass(option) and isinstance(value, Mapping):
            check_section(value, typing.cast("type[Any]", option), key)
            return
        origin, arguments = typing.get_origin(option), typing.get_args(option)
        if _is_list(value) and origin in (list, tuple, Sequence):
            elements = typing.cast("Sequence[object]", value)
            kinds = arguments if origin is tuple else arguments * len(elements)
            if len(kinds) == len(elements):
                for number, (element, kind) in enumerate(zip(elements, kinds, strict=True)):
                    check_value(element, kind, f"{key}.{number}")
                return
        if _is_plain(value, option, origin, arguments):
            return
    raise ConfigError(key, f"{value!r} is not allowed; it must be {_describe(options)}")


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _is_plain(value: object, option: Any, origin: Any, arguments: tuple[Any, ...]) -> bool:
    if option is object or option is Any:
        return True
    if option is None or option is type(None):
        return value is None
    if origin is Literal:
        return value in arguments and not isinstance(value, bool | int | float)
    if origin in (dict, Mapping):
        return isinstance(value, Mapping)
    if option is bool:
        return isinstance(value, bool)
    if option is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if option is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if option is str:
        return isinstance(value, str)
    if option is Path:
        return isinstance(value, str | Path) and str(value) != ""
    if option is torch.dtype:
        return isinstance(value, torch.dtype) or _is_dtype_name(value)
    return False


def _is_dtype_name(value: object) -> bool:
    name = value.removeprefix("torch.") if isinstance(value, str) else ""
    return isinstance(getattr(torch, name, None), torch.dtype)


def _describe(options: Sequence[Any]) -> str:
    words = []
    for option in options:
        if dataclasses.is_dataclass(option):
            words.append("a mapping of settings")
        elif option is torch.dtype:
            words.append("a data type such as float32 or bfloat16")
        elif typing.get_origin(option) in (list, Sequence):
            words.append("a list")
        elif typing.get_origin(option) is tuple:
            words.append(f"a list of {len(typing.get_args(option))}")
        else:
            words.append(describe(option))
    return " or ".join(dict.fromkeys(words))
