"""Work on several gloo ranks that are forked from this process: torch is loaded already."""

from __future__ import annotations

import socket
import time

from forked_programs import start_work

TIME_LIMIT_S = 200


def run_on_ranks(work, folder, *, ranks):
    """Run ``work()``, which returns an exit code, on ranks of CPU; what the first rank printed.

    Each rank's output is a file in ``folder``; an AssertionError holds that of one that failed.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    logs = [folder / f"rank_{rank}.log" for rank in range(ranks)]
    programs = [
        start_work(work, log, _variables(rank, ranks, port)) for rank, log in enumerate(logs)
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


def _variables(rank, ranks, port):
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(ranks),
        "LOCAL_WORLD_SIZE": str(ranks),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "FAIRSEQ2_DEVICE": "cpu",
    }
