"""The process that measures: a fresh one for the times of a point, and for each memory figure.

It is told what to do by a JSON object in its argument, and answers in JSON lines.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Callable
from typing import Any

import torch

from bench import memory, timing
from bench.check import check_sample, check_whole
from bench.contender import Contender, clear_gradients
from bench.contenders import contenders_at
from bench.limit import bound_memory, is_out_of_memory
from bench.peer_folder import use_peers
from bench.problem import Problem, make_problem
from bench.settings import Point

_SMALL = {"tokens": 96, "vocabulary": 1500, "hidden": 48}
_WARM_UP_TOKENS = 32


def main() -> int:
    """Do the task and exit."""
    task = json.loads(sys.argv[1])
    # The first descriptor is for answers alone; whatever a package prints goes to the second.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def tell(**answer: Any) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    if task["peers"]:
        use_peers()
    if task["threads"] is not None:
        torch.set_num_threads(task["threads"])
    point = Point(**task["point"])
    chosen = [one for one in contenders_at(point, None, task["peers"]) if one.name in task["names"]]
    bound = bound_memory() if point.device == "cpu" else None
    {"time": take_times, "memory": take_memory}[task["what"]](point, chosen, task, tell, bound)
    return 0


Tell = Callable[..., None]


def take_times(
    point: Point, chosen: list[Contender], task: dict[str, Any], tell: Tell, bound: int | None
) -> None:
    """Check everyone, warm them up, and run the rounds."""
    on_gpu = point.device != "cpu"
    small = make_problem(dataclasses.replace(point, **_SMALL))
    errors = {}
    for one in chosen:
        try:
            errors[one.name] = check_whole(one, small)
        except Exception as error:
            tell(name=one.name, **_failure(error, bound))
    torch.compiler.reset()
    problem = make_problem(point)
    tell(point={"gamma": problem.gamma, "hard_share": float(problem.hard.float().mean())})
    works = {}
    for one in chosen:
        if one.name not in errors:
            continue
        tell(progress=f"first run of {one.name}")
        clear_gradients(problem)
        answer: dict[str, Any] = {}
        try:
            work = one.prepare(problem)
            for _ in range(3 if on_gpu else 1):
                clear_gradients(problem)
                work()
            worst = max(errors[one.name], check_sample(one, problem))
            if on_gpu:
                answer["extra_bytes"] = _cuda_peak(problem, work)
        except Exception as error:
            tell(name=one.name, **_failure(error, bound))
            continue
        works[one.name] = work
        tell(name=one.name, status="measured", gradient_error=worst, **answer)
    seconds = timing.measure_rounds(
        works,
        rounds=task["rounds"],
        seed=point.seed,
        clock=timing.on_cuda if on_gpu else timing.on_cpu,
        between=lambda: clear_gradients(problem),
        told=lambda done, rounds: tell(progress=f"round {done} of {rounds}"),
    )
    for name, values in seconds.items():
        tell(name=name, seconds=values)


def take_memory(
    point: Point, chosen: list[Contender], task: dict[str, Any], tell: Tell, bound: int | None
) -> None:
    """The peak of each contender's run on inputs that exist already; gradients count."""
    memory.without_huge_pages()
    # Threads, code and library buffers that the first run of anything brings with it.
    few = make_problem(dataclasses.replace(point, tokens=_WARM_UP_TOKENS))
    problem = make_problem(point)
    for one in chosen:
        spoils: list[BaseException] = []
        try:
            one.prepare(few)()
            work = one.prepare(problem)
            if one.compiles:  # code is made for a size
                work()
        except Exception as error:
            tell(name=one.name, **_failure(error, bound))
            continue
        clear_gradients(few)
        clear_gradients(problem)
        reached = memory.peak_extra_bytes(work, spoils)
        clear_gradients(problem)
        if spoils:
            tell(name=one.name, extra_bytes_at_least=reached, **_failure(spoils[0], bound))
        else:
            tell(name=one.name, extra_bytes=reached)


def _cuda_peak(problem: Problem, work: Callable[[], None]) -> int:
    clear_gradients(problem)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    work()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def _failure(error: Exception, bound: int | None) -> dict[str, Any]:
    if isinstance(error, ImportError):
        return {"status": "absent", "reason": _one_line(error)}
    if is_out_of_memory(error):
        room = "" if bound is None else f": it needs more than the {bound / 2**30:.1f} GiB free"
        return {"status": "out of memory", "reason": f"out of memory{room}"}
    return {"status": "failed", "reason": _one_line(error)}


def _one_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"[:300]


if __name__ == "__main__":
    sys.exit(main())
