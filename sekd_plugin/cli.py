"""The console command ``sekd``: one sub-command a module in :mod:`sekd_plugin.commands`."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Sequence
from importlib import import_module

from sekd_plugin.errors import SekdError, did_you_mean

# A command's module is imported only when that command runs, so that `sekd --help` is instant.
COMMANDS = {
    "train": "train a student, a teacher or a baseline from a recipe",
    "sweep": "train many variants with several seeds, and write a table of the results",
    "cache-teacher": "run a teacher once over a corpus, for students to train without it",
    "memory-plan": "how much memory a recipe needs on each device",
    "prepare": "turn parallel files into a vocabulary and clean splits",
    "translate": "translate a file or standard input with a trained model",
    "evaluate": "score one or several systems on a test set",
    "analyze": "how difficult tokens are for a student, and which Γ to start with",
    "list": "show the divergences, thresholds, proxies and criteria there are",
    "demo": "the whole story on the shipped sample corpus, with a report",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one ``sekd`` command and return its exit code: 0 done, 2 the user's mistake."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = _run(words)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read has gone, and Python writes what is left once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


def _run(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        print(_usage())
        return 0 if words else 2
    name = words[0]
    if name not in COMMANDS:
        print(f"sekd: '{name}' is not a command; {did_you_mean(name, COMMANDS)}", file=sys.stderr)
        return 2
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # a user's own modules, as with `python -m sekd_plugin`
    try:
        command = import_module(f"sekd_plugin.commands.{name.replace('-', '_')}")
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] == "sekd_plugin":
            raise
        print(
            f"sekd {name}: the package '{error.name}' is missing; "
            "get it with pip install 'sekd-plugin[fairseq2]'",
            file=sys.stderr,
        )
        return 2
    parser = ArgumentParser(
        prog=f"sekd {name}",
        description=command.__doc__,
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.add_arguments(parser)
    options = parser.parse_args(words[1:])
    options.words = words[1:]  # as typed, for a command that hands them on
    try:
        code: int = command.run(options)
    except SekdError as error:
        print(f"sekd {name}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"sekd {name}: interrupted", file=sys.stderr)
        return 130
    return code


def _usage() -> str:
    width = max(map(len, COMMANDS))
    rows = "\n".join(f"  {name:<{width}}  {what}" for name, what in COMMANDS.items())
    return f"usage: sekd COMMAND ...\n\n{rows}\n\n'sekd COMMAND --help' says more."
