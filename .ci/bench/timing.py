"""Interleaved rounds: every contender once a round, in an order drawn anew for each."""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable, Mapping, Sequence

import torch

Clock = Callable[[Callable[[], None]], float]


def on_cpu(work: Callable[[], None]) -> float:
    """Seconds that it takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def on_cuda(work: Callable[[], None]) -> float:
    """Seconds between two events on the device."""
    before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    before.record()
    work()
    after.record()
    torch.cuda.synchronize()
    return before.elapsed_time(after) / 1000.0


def measure_rounds(
    works: Mapping[str, Callable[[], None]],
    *,
    rounds: int,
    seed: int,
    clock: Clock,
    between: Callable[[], None],
    told: Callable[[int, int], None] = lambda done, rounds: None,
) -> dict[str, list[float]]:
    """Seconds of each contender, by round.

    Args:
        works: what is timed; each has run before.
        rounds: how many.
        seed: of the order.
        clock: times one run.
        between: tidies up before each run, untimed.
        told: hears of each round that has ended.
    """
    draw = random.Random(seed)
    seconds: dict[str, list[float]] = {name: [] for name in works}
    order: Sequence[str] = list(works)
    collects = gc.isenabled()
    gc.disable()
    try:
        for number in range(rounds):
            for name in draw.sample(order, len(order)):
                between()
                seconds[name].append(clock(works[name]))
            gc.collect()
            told(number + 1, rounds)
    finally:
        if collects:
            gc.enable()
    return seconds
