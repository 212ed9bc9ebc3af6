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

    Sentences of like length share a batch. The batches left over at the end, fewer than a step,
    are cut anew into ``batches_per_step`` smaller ones (with the last whole step's, where they
    hold too few sentences), so that every rank has something to do and nothing is dropped.

    Args:
        lengths: tokens of each example.
        batch_tokens: the most tokens in a batch, counting padding.
        batches_per_step: ranks × gradient accumulation.
        generator: shuffles examples and batches; None keeps them in order of length.

    Raises:
        ConfigError: there are fewer examples than batches in a step.
    """
    order = np.arange(len(lengths))
    if generator is not None:
        order = generator.permutation(order)
    order = order[np.argsort(np.asarray(lengths)[order], kind="stable")]
    batches = _fill([int(example) for example in order], lengths, batch_tokens)
    if generator is not None:
        batches = [batches[place] for place in generator.permutation(len(batches))]
    whole = len(batches) // batches_per_step * batches_per_step
    steps = [
        batches[start : start + batches_per_step] for start in range(0, whole, batches_per_step)
    ]
    left = [example for batch in batches[whole:] for example in batch]
    if left and len(left) < batches_per_step and steps:
        left = [example for batch in steps.pop() for example in batch] + left
    if left:
        steps.append(_deal(left, lengths, batches_per_step))
    return steps


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


def _deal(examples: list[int], lengths: Sequence[int], num_batches: int) -> Step:
    if len(examples) < num_batches:
        raise ConfigError(
            "dataset",
            f"has {len(examples)} usable sentences, fewer than the {num_batches} batches of one "
            "step (ranks × trainer.grad_accumulation.num_batches)",
        )
    by_length = sorted(examples, key=lambda example: lengths[example])
    return [[int(example) for example in part] for part in np.array_split(by_length, num_batches)]
