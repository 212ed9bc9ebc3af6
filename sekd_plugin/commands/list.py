"""Show the criteria, divergences, thresholds and proxies there are, or all about one of them.

sekd list
sekd list jensen_shannon
sekd list --json
sekd list --plugin my_package.divergences
"""

from __future__ import annotations

import json
import re
import shutil
import textwrap
from argparse import ArgumentParser, Namespace
from dataclasses import asdict

from sekd_plugin.catalogue import Entry, catalogue
from sekd_plugin.errors import SekdError, did_you_mean
from sekd_plugin.plugins import import_plugins


def add_arguments(parser: ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="say everything about this one")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument(
        "--plugin",
        action="append",
        default=[],
        metavar="MODULE",
        help="import this module first, so that what it registers is listed; may be repeated",
    )


def run(args: Namespace) -> int:
    """Print the catalogue, or what it says of one name."""
    import_plugins(args.plugin, "--plugin")
    entries = catalogue()
    if args.name is not None:
        names = {entry.name for entry in entries}
        entries = [entry for entry in entries if entry.name == args.name]
        if not entries:
            raise SekdError(f"'{args.name}' is not known; {did_you_mean(args.name, names)}")
        broken = [entry.problem for entry in entries if entry.problem]
        if broken and not args.json:
            raise SekdError(broken[0])
    if args.json:
        print(json.dumps([asdict(entry) for entry in entries], indent=2, ensure_ascii=False))
    elif args.name is not None:
        print("\n\n".join(_page(entry) for entry in entries))
    else:
        print(_table(entries))
    return 0


def _table(entries: list[Entry]) -> str:
    width = max(len(entry.name) for entry in entries)
    room = max(40, shutil.get_terminal_size().columns - width - 4)
    lines: list[str] = []
    kind = ""
    for entry in entries:
        if entry.kind != kind:
            kind = entry.kind
            lines += ["", f"{kind} (criterion.config.{kind})" if kind != "criterion" else kind]
        said = _plain(entry.summary) or f"(no docstring; {entry.defined_in})"
        if entry.problem:
            said = f"broken: {entry.problem}"
        first, *rest = textwrap.wrap(said, room)
        lines.append(f"  {entry.name:<{width}}  {first}")
        lines += [" " * (width + 4) + line for line in rest]
    return "\n".join(lines[1:]) + "\n\n'sekd list NAME' shows formula, settings and source."


def _page(entry: Entry) -> str:
    settings: list[str] = []
    for setting in entry.settings:
        needed = "needed" if setting.default is None else f"default {setting.default}"
        settings.append(f"  {setting.name}: {setting.type}; {needed}")
        settings += _wrapped(setting.meaning, "      ")
    blocks = [
        [f"{entry.name} ({entry.kind}, {entry.defined_in})"],
        [_plain(entry.summary)] if entry.summary else [],
        textwrap.indent(_plain(entry.formula), "  ").splitlines(),
        _wrapped(entry.notes),
        settings,
        [f"Source: {entry.source}"] if entry.source else [],
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block)


def _wrapped(text: str, indent: str = "") -> list[str]:
    width = min(100, max(50, shutil.get_terminal_size().columns))
    return [
        line
        for paragraph in _plain(text).split("\n\n")
        for line in textwrap.wrap(paragraph, width, initial_indent=indent, subsequent_indent=indent)
    ]


def _plain(text: str) -> str:
    """A docstring's text without its marks: a terminal shows neither code nor links."""
    return re.sub(r":\w+:`~?([^`]*)`|``([^`]*)``", r"\1\2", text)
