"""A cache of random rows, without any teacher."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from sekd_plugin.teachers.cache.filling import finish, take_shards
from sekd_plugin.teachers.cache.plan import CachePlan, begin, data_fingerprint, shard_file
from sekd_plugin.teachers.cache.sentences import sentence_key
from sekd_plugin.teachers.cache.shards import write_shard
from sekd_plugin.teachers.likeliest import ListedRows, list_likeliest

WORDS = 50
SENTENCES = 23


@dataclass(frozen=True)
class MadeUp:
    """What a made-up cache is made from."""

    plan: CachePlan
    keys: list[bytes]
    rows: list[ListedRows]


def make(**changes) -> MadeUp:
    """Sentences of one to six tokens."""
    draw = torch.Generator().manual_seed(5)
    lengths = [1 + number % 6 for number in range(SENTENCES)]
    keys = [sentence_key([1, number], [2] * length) for number, length in enumerate(lengths)]
    settings = {
        "teacher": "made up",
        "teacher_fingerprint": "0",
        "tokenizer": "none",
        "tokenizer_fingerprint": "0",
        "template": "{source}",
        "vocabulary": WORDS,
        "temperature": 1.0,
        "top_k": 8,
        "top_p": 0.9,
        "probability_bits": 16,
        "num_sentences": SENTENCES,
        "num_tokens": sum(lengths),
        "data_fingerprint": data_fingerprint(keys),
        "shard_sentences": 5,
    }
    plan = CachePlan(**{**settings, **changes})
    rows = []
    for length in lengths:
        logits = 3.0 * torch.randn(length, WORDS, generator=draw)
        targets = torch.randint(WORDS, (length,), generator=draw)
        rows.append(list_likeliest(logits, targets, plan.temperature, plan.likeliest))
    return MadeUp(plan, keys, rows)


def fill(folder: Path, made: MadeUp, pause: float = 0.0, most: int | None = None) -> list[int]:
    """Make the files that nobody makes, at most so many; their numbers."""
    plan = begin(folder, made.plan)
    done = []
    for shard in take_shards(folder, plan):
        if most is not None and len(done) == most:
            break
        numbers = plan.sentences_of(shard)
        time.sleep(pause * len(numbers))
        write_shard(
            shard_file(folder, shard),
            [made.keys[number] for number in numbers],
            [made.rows[number] for number in numbers],
            plan,
        )
        done.append(shard)
    finish(folder, plan)
    return done


@pytest.fixture
def made_up(tmp_path: Path) -> tuple[Path, MadeUp]:
    """A finished cache, and what is in it."""
    made = make()
    fill(tmp_path / "cache", made)
    return tmp_path / "cache", made
