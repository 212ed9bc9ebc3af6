"""Work on several gloo ranks that are forked from this process: torch is loaded already."""

from __future__ import annotations

import time

from forked_programs import start_work
from forked_training import environment, meeting_place

TIME_LIMIT_S = 200


def run_on_ranks(work, folder, *, ranks):
    """Run ``work()``, which returns an exit code, on ranks of CPU; what the first rank printed.

    Each rank's output is a file in ``folder``; an AssertionError holds that of one that failed.
    """
    store = meeting_place()
    logs = [folder / f"rank_{rank}.log" for rank in range(ranks)]
    programs = [
        start_work(work, log, environment(rank, ranks, store.port) | {"FAIRSEQ2_DEVICE": "cpu"})
        for rank, log in enumerate(logs)
    ]
    try:
        end = time.monotonic() + TIME_LIMIT_S
        while any(program.poll() is None for program in programs) and time.monotonic() < end:
            if any(program.poll() for program in programs):
                break  # the others would wait for it
            time.sleep(0.02)
        for program, log in zip(programs, logs, strict=True):
            assert program.poll() in (0, None), log.read_text(encoding="utf-8")
        for program, log in zip(programs, logs, strict=True):
            assert program.poll() == 0, f"no end in {TIME_LIMIT_S} s: {log.read_text('utf-8')}"
    finally:
        for program in programs:
            program.kill()
    return logs[0].read_text(encoding="utf-8")
