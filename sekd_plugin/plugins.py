"""Modules that a recipe or a command names, so that their decorators run.

Importing a module runs its code: who names one trusts it.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from types import ModuleType

from sekd_plugin.errors import ConfigError, SekdError


def import_plugins(modules: Sequence[str], key: str) -> None:
    """Import each of ``modules``, whose decorators then make their names known.

    Args:
        modules: dotted names, as after ``import``; one imported before is not run again.
        key: the setting that lists them, put in front of the number of the one that fails.

    Raises:
        ConfigError: one cannot be imported, or wants a name that is taken.
    """
    for number, module in enumerate(modules):
        try:
            import_module_of_others(module)
        except ConfigError as error:
            raise error.within(f"{key}.{number}") from error.__cause__


def import_module_of_others(name: str) -> ModuleType:
    """The module ``name``, whatever goes wrong in it told in one line.

    Raises:
        ConfigError: it cannot be imported.
    """
    try:
        return import_module(name)
    except (Exception, SystemExit) as error:
        raise ConfigError("", f"'{name}' cannot be imported: {in_one_line(error)}") from error


def in_one_line(error: BaseException) -> str:
    """What went wrong in another's code: the kind of the error and its text, in one line."""
    text = " ".join(str(error).split())
    if isinstance(error, SekdError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
