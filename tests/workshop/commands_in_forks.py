"""Runs ``sekd`` commands, each in a fork: a program that loads PyTorch and fairseq2 once.

It reads a line of JSON for each, a list of words, and answers with one of the exit code and what
was printed on standard output and error.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile

from forked_programs import fork

import sekd_plugin.commands.list
import sekd_plugin.commands.train  # noqa: F401  # both before the first fork
from sekd_plugin.cli import main


class Commands:
    """The program, with packages that a folder has installed."""

    def __init__(self, site):
        workshop = os.path.dirname(__file__)
        root = os.path.dirname(os.path.dirname(workshop))
        self._environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join((str(site), workshop, root)),
            "OMP_NUM_THREADS": "1",
        }
        self._program = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=self._environment,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._program.stdin.close()
        self._program.wait()
        self._program.stdout.close()

    def sekd(self, *words):
        """What :func:`subprocess.run` returns of a command."""
        self._program.stdin.write(json.dumps(words) + "\n")
        self._program.stdin.flush()
        code, out, error = json.loads(self._program.stdout.readline())
        return subprocess.CompletedProcess(words, code, out, error)

    def python(self, code):
        """The same of a program of its own, without the command."""
        return subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=self._environment
        )


def run(words):
    """Exit code, standard output and standard error, also what is below Python."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as error:

        def work():
            os.dup2(out.fileno(), 1)
            os.dup2(error.fileno(), 2)
            return main(words)

        code = fork(work).wait()
        texts = []
        for file in (out, error):
            file.seek(0)
            texts.append(file.read())
    return code, *texts


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), flush=True)
