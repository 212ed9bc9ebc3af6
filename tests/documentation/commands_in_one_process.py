"""Runs ``sekd`` and ``pytest`` commands in one process: a program for the test of a page.

It reads a JSON list of commands, each a list of words, and writes a JSON list of what each
returned and printed. PyTorch is loaded once, not once a command. The checks that the tests call
try as many examples as the program's argument says.
"""

import json
import os
import sys
import tempfile
from functools import partial

import pytest

import sekd_plugin.testing
from sekd_plugin.cli import main

WITHOUT_TRACES = ["-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
PROGRAMS = {
    "sekd": main,
    "pytest": lambda words: int(pytest.main([*WITHOUT_TRACES, *words])),
}


def run(words):
    """Exit code and everything that was printed, also below Python."""
    with tempfile.TemporaryFile("w+") as output:
        saved = [os.dup(number) for number in (1, 2)]
        for number in (1, 2):
            os.dup2(output.fileno(), number)
        try:
            code = PROGRAMS[words[0]](words[1:])
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, copy in zip((1, 2), saved, strict=True):
                os.dup2(copy, number)
                os.close(copy)
        output.seek(0)
        return code, output.read()


if __name__ == "__main__":
    for name in ("check_divergence", "check_threshold", "check_proxy"):
        few = partial(getattr(sekd_plugin.testing, name), max_examples=int(sys.argv[1]))
        setattr(sekd_plugin.testing, name, few)
    print(json.dumps([run(words) for words in json.load(sys.stdin)]))
