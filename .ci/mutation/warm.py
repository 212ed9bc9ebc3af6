"""A process with torch and pytest imported, which forks for every mutant: seconds saved each time.

It never imports the package under test, whose source differs from mutant to mutant.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
from pathlib import Path

IMPORTED = (
    "torch",
    "torch.distributed",
    "hypothesis.strategies",
    "hypothesis.internal.conjecture.engine",
    "numpy",
    "pytest",
    "pytest_timeout",
    "_pytest.python",
    "_pytest.skipping",
    "_pytest.unittest",
    "_pytest.warnings",
)
# Only what these tests need: the plug-ins that happen to be installed take a second to load.
OPTIONS = (
    *("-q", "-x", "--assert=plain", "-p", "pytest_timeout"),
    *("-p", "no:cacheprovider", "-p", "no:unraisableexception", "-p", "no:threadexception"),
    *("-p", "no:faulthandler", "-p", "no:junitxml", "-p", "no:pastebin", "-p", "no:debugging"),
)


def serve(address: str) -> None:
    """Answer every request, ``{"folder": …, "tests": [[…], …]}``, with pytest's exit code."""
    sys.dont_write_bytecode = True
    for name in IMPORTED:
        importlib.import_module(name)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(address)
    gc.collect()
    gc.freeze()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    parent = os.getppid()
    while os.getppid() == parent:
        if not select.select([listener], [], [], 1.0)[0]:
            continue
        connection, _ = listener.accept()
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            listener.close()
            answer(connection)
            os._exit(0)
        connection.close()


def answer(connection: socket.socket) -> None:
    """Run one request in a child; end the child if who asked is gone."""
    request = json.loads(connection.makefile().readline())
    child = os.fork()
    if child == 0:
        os.setsid()
        connection.close()
        run_tests(request["folder"], request["tests"])
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(status)
            connection.sendall(bytes([min(abs(code), 255)]))
            return
        if select.select([connection], [], [], 0.01)[0] and not connection.recv(1):
            os.killpg(child, signal.SIGKILL)
            return


def run_tests(folder: str, groups: list[list[str]]) -> None:
    """Run groups of tests, the quickest killers first, and exit at the first failure."""
    import pytest

    output = os.open(Path(folder) / "last_output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.chdir(folder)
    sys.path.insert(0, folder)
    os.environ["PYTHONPATH"] = folder
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    os.environ["HYPOTHESIS_PROFILE"] = "mutation"
    for tests in groups:
        code = pytest.main([*tests, *OPTIONS])
        if code == pytest.ExitCode.USAGE_ERROR:  # a mistake in the list of tests kills no mutant
            os._exit(0)
        if code != 0:
            sys.stdout.flush()
            os._exit(int(code))
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    serve(sys.argv[1])
