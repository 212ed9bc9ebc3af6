"""Whether a cache is as it was written, to the last byte and the last token."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from sekd_plugin.checksum import sha256_of_file
from sekd_plugin.errors import DataError, SekdError
from sekd_plugin.progress import Progress, SilentProgress
from sekd_plugin.teachers.cache.plan import CachePlan, read_plan
from sekd_plugin.teachers.cache.reading import open_shard, read_index
from sekd_plugin.teachers.cache.shards import Shard, ShardSummary


def verify(folder: Path, progress: Progress | None = None) -> list[str]:
    """Read all of a cache, and tell what is wrong with it: one line each, none if it is whole.

    Every byte is compared by SHA-256, and the sentences with those that the plan names: a byte
    that has changed, a missing file, sentence or token is found.

    Raises:
        SekdError: the folder holds no cache.
    """
    progress = progress or SilentProgress()
    try:
        plan = read_plan(folder)
        summaries = read_index(folder, plan)
    except DataError as error:
        return [str(error)]
    problems = []
    keys = hashlib.sha256()
    for summary in progress.track(summaries, "verify", len(summaries)):
        found = list(_problems_of(folder, summary, plan))
        problems += found
        if not found:
            keys.update(bytes(Shard(folder / summary.file).keys.flatten().tolist()))
    if problems:
        return problems
    totals = (
        sum(each.num_sentences for each in summaries),
        sum(each.num_tokens for each in summaries),
    )
    if totals != (plan.num_sentences, plan.num_tokens):
        return [
            f"{folder}: holds {totals[0]} sentences of {totals[1]} tokens; the plan names "
            f"{plan.num_sentences} of {plan.num_tokens}"
        ]
    if keys.hexdigest() != plan.data_fingerprint:
        return [f"{folder}: its sentences are not those that the plan names"]
    return []


def _problems_of(folder: Path, summary: ShardSummary, plan: CachePlan) -> Iterator[str]:
    try:
        shard = open_shard(folder, summary, plan)
        if sha256_of_file(shard.file) != summary.sha256:
            for _ in shard.sentences():  # names the sentence, where it is one that has changed
                pass
            raise DataError(shard.file, "is damaged: its checksum is another")
        if shard.summary(summary.sha256) != summary:
            raise DataError(shard.file, "does not hold what the index says of it")
    except SekdError as error:
        yield str(error)
