"""``sekd`` commands forked from this process, which has all of it imported."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from dataclasses import dataclass

import torch

from sekd_plugin.cli import main
from sekd_plugin.programs import process


@dataclass
class ForkedProgram:
    """What a parent knows of its child, as :class:`subprocess.Popen` has it."""

    pid: int
    code: int | None = None

    def poll(self):
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
        return self.code

    def wait(self):
        if self.code is None:
            self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.code

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self):
        self.send_signal(signal.SIGTERM)

    def kill(self):
        self.send_signal(signal.SIGKILL)


def fork(work):
    """Run ``work()``, which returns an exit code, in a child of this process."""
    prepare = process.end_with_parent()
    pid = os.fork()
    if pid:
        return ForkedProgram(pid)
    code = 1
    try:
        if prepare is not None:
            prepare()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        code = work()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def start_work(work, log, environment=None):
    """Run ``work()`` in a child with more variables, whose output is added to the file ``log``."""
    log.parent.mkdir(parents=True, exist_ok=True)

    def in_child():
        os.environ.update(environment or {})
        with log.open("ab") as output:
            for number in (1, 2):
                os.dup2(output.fileno(), number)
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
        return work()

    return fork(in_child)


def start_forked(command, log, *, lock, environment=None):
    """What stands in for :func:`sekd_plugin.programs.process.start_command`."""
    return start_work(lambda: main(list(command)), log, environment)


def fork_commands(monkeypatch):
    """Have sweeps fork; where there is a GPU, which does not survive it, they start programs."""
    if not torch.cuda.is_available():
        monkeypatch.setattr(process, "start_command", start_forked)
