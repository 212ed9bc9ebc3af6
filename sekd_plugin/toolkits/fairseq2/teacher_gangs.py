"""The processes among which a teacher that runs by itself is divided."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import torch
from fairseq2.gang import Gang, Gangs, ProcessGroupGang, create_fake_gangs, create_parallel_gangs
from fairseq2.recipe.config import GangSection

from sekd_plugin.errors import ConfigError
from sekd_plugin.teachers.cache.filling import is_finished, take_shards
from sekd_plugin.teachers.cache.plan import CachePlan


def check_processes(section: GangSection) -> None:
    """Check that the processes make up whole groups of those that a teacher is divided among.

    Raises:
        ConfigError: there are not.
    """
    size, processes = section.tensor_parallel_size, _number_of_processes()
    if processes % size != 0:
        raise ConfigError(
            "gang.tensor_parallel_size",
            f"is {size}, and this command runs as {processes} process(es); start {size} or a "
            f"multiple of it with torchrun --nproc-per-node {size}",
        )


def teacher_gangs(section: GangSection, device: torch.device) -> Gangs:
    """Groups of ``gang.tensor_parallel_size`` processes that hold one teacher each.

    Where that is 1 every process holds a teacher of its own and knows of no other.

    Args:
        section: the recipe's.
        device: where this process computes.

    Raises:
        ConfigError: the number of processes is not a multiple of it.
    """
    check_processes(section)
    if section.tensor_parallel_size == 1:
        return create_fake_gangs(device)
    root = ProcessGroupGang.create_default_process_group(
        device, timeout=timedelta(minutes=section.timeout), high_priority=section.high_priority
    )
    return create_parallel_gangs(root, tp_size=section.tensor_parallel_size)


def shards_for(gang: Gang, folder: Path, plan: CachePlan) -> Iterator[int]:
    """The files for a group of processes to make: its first rank takes them, the others are told.

    None, where the cache is finished.

    Args:
        gang: the processes that hold one teacher together.
        folder: the cache.
        plan: what it will hold.

    Raises:
        SekdError: the folder cannot be written.
    """
    leads = gang.rank == 0 and not is_finished(folder)
    taken = take_shards(folder, plan) if leads else iter(())
    while True:
        told: list[object] = [next(taken, None)]
        gang.broadcast_objects(told)
        if not isinstance(told[0], int):
            return
        yield told[0]


def _number_of_processes() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))
