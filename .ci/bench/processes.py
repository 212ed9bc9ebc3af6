"""Child processes that never outlive the bench."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from bench.settings import Point


def ask_worker(
    what: str,
    point: Point,
    names: list[str],
    *,
    rounds: int = 0,
    peers: bool,
    threads: int | None,
    environment: Mapping[str, str],
) -> Iterator[dict[str, Any]]:
    """The answers of a worker, as they come; the last one is ``{"ended": why}`` if it broke."""
    task = {
        "what": what,
        "point": point.as_json(),
        "names": names,
        "rounds": rounds,
        "peers": peers,
        "threads": threads,
    }
    words = [sys.executable, "-m", "bench.worker", json.dumps(task)]
    errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed below)
    process = subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        env={**os.environ, **environment, "HF_HUB_OFFLINE": "1"},
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            yield json.loads(line)
        code = process.wait()
        if code != 0:
            errors.seek(0)
            lines = [line for line in errors if line.strip()] or [""]
            yield {"ended": f"the measuring process ended with {code}: {lines[-1].strip()}"[:300]}
    finally:
        stop(process)
        errors.close()


def stop(process: subprocess.Popen[Any]) -> None:
    """End a process that is still at work."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(10.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Progress:
    """Plain lines about what goes on, at most one in a few seconds."""

    def __init__(self, write: Callable[[str], None] = print, pause_s: float = 5.0) -> None:
        self._write = write
        self._pause_s = pause_s
        self._begun = self._said = time.monotonic()

    def tell(self, text: str, always: bool = False) -> None:
        """Say it, unless something was said just now."""
        now = time.monotonic()
        if always or now - self._said >= self._pause_s:
            self._said = now
            self._write(f"bench: [{now - self._begun:5.0f} s] {text}")
