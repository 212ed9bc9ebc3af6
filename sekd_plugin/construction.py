"""From a plain mapping, as read from YAML, to an object: keys and types checked, errors named.

The settings of a component are its constructor's keyword arguments, with their annotations as
the types and their defaults as the defaults. Nothing else describes them.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

from sekd_plugin.errors import ConfigError, did_you_mean
from sekd_plugin.plugins import in_one_line

T = TypeVar("T")

_PLAIN_NAMES: dict[object, str] = {
    float: "a number",
    int: "a whole number",
    bool: "true or false",
    str: "a text",
    Path: "a path",
    type(None): "null",
    list: "a list",
    dict: "a mapping",
    Mapping: "a mapping",
    object: "anything",
}


def construct(kind: type[T], config: Mapping[str, object], owner: str) -> T:
    """Build ``kind(**config)`` after checking every key and every type.

    ``owner`` is what messages call the component, e.g. ``"the threshold 'dynamic'"``.

    Raises:
        ConfigError: an unknown or missing key, a value of the wrong type, or one that the
            constructor refuses. Its key is relative to ``config``, and empty where the
            constructor fails in a way of its own.
    """
    parameters = settings_of(kind)
    for key in config:
        if key not in parameters:
            raise ConfigError(
                str(key), f"is not a setting of {owner}; {did_you_mean(key, parameters)}"
            )
    for key, parameter in parameters.items():
        if parameter.default is inspect.Parameter.empty and key not in config:
            raise ConfigError(key, f"is missing; {owner} needs {describe(parameter.annotation)}")
    checked = {
        key: conform(value, parameters[key].annotation, key) for key, value in config.items()
    }
    try:
        return kind(**checked)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError("", f"{owner} cannot be made: {in_one_line(error)}") from error


def settings_of(kind: type[Any]) -> dict[str, inspect.Parameter]:
    """The settings of a component: name → parameter, its annotation resolved to a type."""
    initializer = kind.__init__
    if initializer is object.__init__:
        return {}
    hints = typing.get_type_hints(initializer)
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {
        name: parameter.replace(annotation=hints.get(name, object))
        for name, parameter in list(inspect.signature(initializer).parameters.items())[1:]
        if parameter.kind in named
    }


def check_settings(kind: type[Any]) -> None:
    """Check that the settings of a component can be read, typed and described.

    Raises:
        ConfigError: an annotation that cannot be resolved, or that is no type.
    """
    try:
        parameters = settings_of(kind)
    except Exception as error:
        raise ConfigError(
            "", f"the types of its settings cannot be read: {in_one_line(error)}"
        ) from error
    for key, parameter in parameters.items():
        for option in _options(parameter.annotation):
            try:
                _matches(None, option)
            except TypeError:
                raise ConfigError(key, f"is annotated with {option!r}, which is no type") from None


def conform(value: object, annotation: Any, key: str) -> object:
    """Return ``value`` as the type ``annotation``, or say what is allowed there.

    A whole number passes for a number; a mapping passes for a class, whose settings it then
    holds. Nothing else is converted: the text ``"0.5"`` is not a number.

    Raises:
        ConfigError: the value is of another type.
    """
    options = _options(annotation)
    for option in options:
        if _matches(value, option):
            return float(value) if option is float else value  # type: ignore[arg-type]
    if isinstance(value, Mapping):
        for option in options:
            if isinstance(option, type) and option not in _PLAIN_NAMES:
                try:
                    return construct(option, value, f"'{key}'")
                except ConfigError as error:
                    raise error.within(key) from None
    raise ConfigError(key, f"{value!r} is not allowed; it must be {describe(annotation)}")


def describe(annotation: Any) -> str:
    """A type in words, for messages and listings."""
    options = _options(annotation)
    if any(inspect.isabstract(option) for option in options):
        # No value of a recipe is one: it is a strategy, which a recipe chooses by name.
        chosen = "a name or {name: …, config: {…}}"
        return f"{chosen} or null" if type(None) in options else chosen
    words: list[str] = []
    for option in options:
        if typing.get_origin(option) is Literal:
            words += [repr(value) for value in typing.get_args(option)]
        elif option in _PLAIN_NAMES:
            words.append(_PLAIN_NAMES[option])
        elif typing.get_origin(option) in _PLAIN_NAMES:
            words.append(_PLAIN_NAMES[typing.get_origin(option)])
        else:
            words.append(
                f"a {getattr(option, '__name__', str(option))} (a mapping of its settings)"
            )
    return " or ".join(dict.fromkeys(words))


def _options(annotation: Any) -> tuple[Any, ...]:
    if annotation is Any:
        return (object,)
    if typing.get_origin(annotation) in (Union, types.UnionType):
        return typing.get_args(annotation)
    return (annotation,)


def _matches(value: object, option: Any) -> bool:
    origin = typing.get_origin(option)
    if origin is Literal:
        return any(value == word and type(value) is type(word) for word in typing.get_args(option))
    if option is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if option is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, origin or option)
