"""Names to classes: the one place where the name of a strategy becomes a class.

A name comes in by one of three ways: the registry's decorator, an entry point of an installed
package, or, without registration, ``"package.module:Class"`` written where a name would stand.
The last one imports that module, so a recipe that holds it runs code.

What another package brings is loaded when it is asked for, and only then can be found broken: its
error names it, and leaves the other names alone.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from sekd_plugin.construction import check_settings, construct
from sekd_plugin.errors import ConfigError, did_you_mean
from sekd_plugin.plugins import import_module_of_others, in_one_line

T = TypeVar("T")
C = TypeVar("C", bound=type)


class Registry(Generic[T]):
    """The known classes of one kind of strategy.

    Args:
        kind: what messages call it, e.g. ``"divergence"``.
        base: the class that every member extends.
        group: the entry-point group through which installed packages add members.
    """

    def __init__(self, kind: str, base: type[T], group: str) -> None:
        self.kind = kind
        self.base = base
        self.group = group
        self._classes: dict[str, type[T]] = {}
        self._plugins: dict[str, list[EntryPoint]] | None = None

    def register(self, name: str) -> Callable[[C], C]:
        """A class decorator that makes the class known as ``name``.

        Raises:
            ConfigError: the name is taken by another class, or the class is of another kind.
        """

        def decorate(kind: C) -> C:
            self._check(kind, name)
            taken = self._classes.get(name)
            if taken is not None and _address(taken) != _address(kind):
                raise ConfigError(name, self._taken(_address(taken), _address(kind)))
            self._classes[name] = kind
            return kind

        return decorate

    def names(self) -> list[str]:
        """Every known name, sorted; entry points of installed packages included."""
        return sorted({*self._classes, *self._entry_points()})

    def get(self, name: str) -> type[T]:
        """The class known as ``name``, or written as ``package.module:Class``.

        Raises:
            ConfigError: no such name, two classes of that name, or a class that cannot be
                imported, is of another kind or has settings that cannot be read.
        """
        kind = self._find(name)
        missing = ", ".join(sorted(getattr(kind, "__abstractmethods__", ())))
        if missing:
            raise ConfigError("", f"the {self.kind} '{name}' ({_address(kind)}) lacks {missing}")
        try:
            check_settings(kind)
        except ConfigError as error:
            raise ConfigError(
                "", f"the {self.kind} '{name}' ({_address(kind)}) cannot be set up: {error}"
            ) from error
        return kind

    def create(self, choice: str | Mapping[str, object] | T, key: str) -> T:
        """The strategy that ``choice`` asks for.

        ``choice`` is a name, a mapping ``{"name": …, "config": {…}}``, or a ready object.
        ``key`` is the setting that held it, put in front of the key of every error.

        Raises:
            ConfigError: the choice has another form, or its name or a setting is refused.
        """
        if isinstance(choice, self.base):
            return choice
        name, config = self.named(choice, key)
        try:
            try:
                kind = self.get(name)
            except ConfigError as error:
                raise error.within("name") if isinstance(choice, Mapping) else error from None
            try:
                return construct(kind, config, f"the {self.kind} '{name}'")
            except ConfigError as error:
                raise error.within("config") from None
        except ConfigError as error:
            raise error.within(key) from None

    def named(self, choice: object, key: str) -> tuple[str, Mapping[str, object]]:
        """The name and the settings of a choice that is no ready object; nothing is looked up.

        Raises:
            ConfigError: the choice has another form.
        """
        try:
            return self._read(choice)
        except ConfigError as error:
            raise error.within(key) from None

    def _read(self, choice: object) -> tuple[str, Mapping[str, object]]:
        if isinstance(choice, str):
            return choice, {}
        if not isinstance(choice, Mapping):
            raise ConfigError("", f"{choice!r} is not allowed; {self._form()}")
        for key in choice:
            if key not in ("name", "config"):
                raise ConfigError(str(key), f"is not allowed here; {self._form()}")
        name = choice.get("name")
        if not isinstance(name, str):
            raise ConfigError("name", f"{name!r} is not a name; {self._form()}")
        config = choice.get("config")
        if config is None:
            return name, {}
        if not isinstance(config, Mapping):
            raise ConfigError("config", f"{config!r} is not a mapping of settings")
        return name, config

    def _form(self) -> str:
        return f"a {self.kind} is a name or {{name: …, config: {{…}}}}"

    def _entry_points(self) -> dict[str, list[EntryPoint]]:
        if self._plugins is None:
            self._plugins = {}
            for entry in entry_points(group=self.group):
                same = self._plugins.setdefault(entry.name, [])
                if all(entry.value != other.value for other in same):
                    same.append(entry)
        return self._plugins

    def _find(self, name: str) -> type[T]:
        entries = self._entry_points().get(name, [])
        if len(entries) > 1:
            raise ConfigError("", self._taken(_owner(entries[0]), _owner(entries[1])))
        here = self._classes.get(name)
        if here is not None and (not entries or _address(here) == entries[0].value):
            return here
        if entries:
            # Loading it may run the decorator, which is then the same class under two addresses.
            kind = self._load(entries[0])
            here = self._classes.setdefault(name, kind)
            if here is not kind:
                raise ConfigError("", self._taken(_address(here), _owner(entries[0])))
            return kind
        if ":" in name:
            return self._import(name)
        path, _, last = name.rpartition(".")
        address = f"a class of your own is written '{path}:{last}'; " if path else ""
        raise ConfigError(
            "", f"'{name}' is not a {self.kind}; {address}{did_you_mean(name, self.names())}"
        )

    def _taken(self, owner: str, other: str) -> str:
        return f"two classes want to be this {self.kind}: {owner} and {other}; rename one"

    def _load(self, entry: EntryPoint) -> type[T]:
        try:
            kind = entry.load()
        except (Exception, SystemExit) as error:
            raise ConfigError(
                "",
                f"the {self.kind} '{entry.name}' of {_owner(entry)} cannot be imported: "
                f"{in_one_line(error)}",
            ) from error
        self._check(kind, entry.name, f" of {_owner(entry)}")
        return kind  # type: ignore[no-any-return]

    def _import(self, address: str) -> type[T]:
        module_name, _, class_name = address.partition(":")
        try:
            module = import_module_of_others(module_name)
        except ConfigError as error:
            raise ConfigError("", f"'{address}': {error.problem}") from error
        kind = getattr(module, class_name, None)
        if kind is None:
            classes = [name for name, _ in inspect.getmembers(module, inspect.isclass)]
            raise ConfigError(
                "",
                f"'{address}': the module has no class '{class_name}'; "
                f"{did_you_mean(class_name, classes)}",
            )
        self._check(kind, address)
        return kind  # type: ignore[no-any-return]

    def _check(self, kind: object, name: str, owner: str = "") -> None:
        if not (isinstance(kind, type) and issubclass(kind, self.base)):
            raise ConfigError(
                "", f"'{name}'{owner} is {kind!r}, which is not a subclass of {self.base.__name__}"
            )


def _address(kind: type) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"


def _owner(entry: EntryPoint) -> str:
    package = f" of the package {entry.dist.name}" if entry.dist is not None else ""
    return f"{entry.value}{package}"
