"""How an epoch is cut into steps: decided once for all ranks, from a seed.

The plan does not know which rank runs which batch. A step is ``batches_per_step`` batches
(ranks × accumulation), so one process with four micro-batches and four processes with one
train on the same sentences at the same step.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sekd_plugin.errors import ConfigError

Batch = list[int]
Step = list[Batch]


def plan_epoch(
    lengths: Sequence[int],
    *,
    batch_tokens: int,
    batches_per_step: int,
    generator: np.random.Generator | None,
) -> list[Step]:
    """Cut the examples into steps of equally many batches, each example in exactly one.

    Sentences of like length share a batch. The largest batches are divided until the batches
    come out even, so that every rank has something to do and nothing is dropped. No batch of
    several sentences exceeds ``batch_tokens``, unless so many sentences fill a batch alone that
    dividing is not enough: then the smallest share one, fewer than ``batches_per_step`` times.

    Args:
        lengths: tokens of each example.
        batch_tokens: the most tokens in a batch, counting padding.
        batches_per_step: ranks × gradient accumulation.
        generator: shuffles examples and batches; None keeps them in order of length.

    Raises:
        ConfigError: there are fewer examples than batches in a step.
    """
    if len(lengths) < batches_per_step:
        raise ConfigError(
            "dataset",
            f"has {len(lengths)} usable sentences, fewer than the {batches_per_step} batches of "
            "one step (ranks × trainer.grad_accumulation.num_batches)",
        )
    order = np.arange(len(lengths))
    if generator is not None:
        order = generator.permutation(order)
    order = order[np.argsort(np.asarray(lengths)[order], kind="stable")]
    batches = _fill([int(example) for example in order], lengths, batch_tokens)
    _divide(batches, lengths, batches_per_step)
    _unite(batches, lengths, batches_per_step)
    if generator is not None:
        batches = [batches[place] for place in generator.permutation(len(batches))]
    return [
        batches[start : start + batches_per_step]
        for start in range(0, len(batches), batches_per_step)
    ]


def padded_tokens(batch: Batch, lengths: Sequence[int]) -> int:
    """How many tokens a batch has, padding included."""
    return len(batch) * max(lengths[example] for example in batch)


def _fill(order: list[int], lengths: Sequence[int], batch_tokens: int) -> list[Batch]:
    batches: list[Batch] = []
    longest = 0
    for example in order:
        longest = max(longest, lengths[example])
        if batches and (len(batches[-1]) + 1) * longest <= batch_tokens:
            batches[-1].append(example)
        else:
            batches.append([example])
            longest = lengths[example]
    return batches


def _divide(batches: list[Batch], lengths: Sequence[int], batches_per_step: int) -> None:
    """Halve the largest batch until the batches make whole steps, or each is one sentence."""
    while len(batches) % batches_per_step:
        divisible = [place for place, batch in enumerate(batches) if len(batch) > 1]
        if not divisible:
            return
        place = max(divisible, key=lambda place: padded_tokens(batches[place], lengths))
        batch, half = batches[place], len(batches[place]) // 2
        batches[place : place + 1] = [batch[:half], batch[half:]]


def _unite(batches: list[Batch], lengths: Sequence[int], batches_per_step: int) -> None:
    """Put the two smallest batches together until the batches make whole steps."""
    while len(batches) % batches_per_step:
        batches.sort(key=lambda batch: padded_tokens(batch, lengths))
        batches[:2] = [batches[0] + batches[1]]
