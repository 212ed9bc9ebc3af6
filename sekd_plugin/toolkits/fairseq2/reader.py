"""Reads a rank's batches of the epoch's plan, and picks up where a checkpoint left off."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Self, cast

import numpy as np
from fairseq2.datasets import DataReader
from fairseq2.gang import Gangs
from typing_extensions import override

from sekd_plugin.errors import ConfigError, SekdError
from sekd_plugin.toolkits.fairseq2.batch_form import Batch, BatchForm
from sekd_plugin.toolkits.fairseq2.batching import Step, plan_epoch
from sekd_plugin.toolkits.fairseq2.dataset import EncodedCorpus
from sekd_plugin.toolkits.fairseq2.prompted_batches import PROMPTED_BATCHES


class ChangedDataError(SekdError):
    """A run cannot be resumed because its training data is no longer the same."""


class CorpusReader(DataReader[Batch]):
    """The batches of one data-parallel rank, epoch after epoch.

    Its state is two numbers, the epoch and the next step, and what tells whether they still
    mean the same: the plan of an epoch follows from the corpus, the seed and the step's size.
    Rank r of R takes batches r, R + r, 2R + r … of each step.
    """

    def __init__(
        self,
        corpus: EncodedCorpus,
        gangs: Gangs,
        *,
        batch_tokens: int,
        pad_index: int,
        num_accumulate: int = 1,
        seed: int | None = None,
        key: str = "dataset.train",
        batches: BatchForm = PROMPTED_BATCHES,
    ) -> None:
        """What is read, and by whom.

        Args:
            corpus: the encoded examples.
            gangs: which data-parallel rank this is, of how many.
            batch_tokens: the most tokens in a batch.
            pad_index: what fills a batch up.
            num_accumulate: batches a rank takes each step.
            seed: of the shuffling; None reads in order of length, every example once.
            key: the setting that named the files, for errors.
            batches: how examples share a batch.

        Raises:
            ConfigError: an epoch has fewer sentences than a step has batches.
        """
        self._corpus = corpus
        self._batches = batches
        self._rank = gangs.dp.rank
        self._num_ranks = gangs.dp.size
        self._batch_tokens = batch_tokens
        self._pad_index = pad_index
        self._num_accumulate = num_accumulate
        self._seed = seed
        self._epoch = 0
        self._next_step = 0
        self._plan: list[Step] | None = None
        self._batches_per_step = self._num_ranks * num_accumulate
        sentences = float(len(corpus)) if seed is None else math.fsum(corpus.weights)
        if sentences < self._batches_per_step:
            raise ConfigError(
                key,
                f"sentences times their weights are {sentences:g}; a step needs "
                f"{self._batches_per_step} or more (ranks × trainer.grad_accumulation.num_batches)",
            )

    @override
    def __iter__(self) -> Self:
        return self

    @override
    def __next__(self) -> list[Batch]:
        if self._plan is None:
            self._plan = self._make_plan()
        if self._next_step >= len(self._plan):
            raise StopIteration
        step = self._plan[self._next_step]
        self._next_step += 1
        mine = step[self._rank :: self._num_ranks]
        return [self._batches.collate(self._corpus, batch, self._pad_index) for batch in mine]

    @override
    def reset(self) -> None:
        self._epoch += 1
        self._next_step = 0
        self._plan = None

    @override
    def state_dict(self) -> dict[str, object]:
        return {"epoch": self._epoch, "next_step": self._next_step, **self._origin}

    @override
    def load_state_dict(self, state_dict: dict[str, object]) -> None:
        """Take back what :meth:`state_dict` gave.

        Raises:
            ChangedDataError: it is the place in other data, or in data cut in another way.
        """
        for name, ours in self._origin.items():
            if state_dict.get(name) != ours:
                raise ChangedDataError(
                    f"the {name} of this run has changed since its last checkpoint (epoch "
                    f"{cast(int, state_dict['epoch']) + 1}, after step {state_dict['next_step']} "
                    f"of it): it was {state_dict.get(name)}, and is {ours} now; put it back to "
                    "resume, or name another folder for a new run"
                )
        self._epoch = cast(int, state_dict["epoch"])
        self._next_step = cast(int, state_dict["next_step"])
        self._plan = None

    @property
    @override
    def num_accumulate(self) -> int:
        return self._num_accumulate

    @cached_property
    def _origin(self) -> dict[str, object]:
        """What the plan of every epoch follows from, by the names that people know it by."""
        checksum = self._corpus.checksum()[:16]
        return {
            "training data": f"{len(self._corpus)} pairs of the checksum {checksum}",
            "dataset.batch_tokens": self._batch_tokens,
            "number of batches in a step (ranks × trainer.grad_accumulation.num_batches)": (
                self._batches_per_step
            ),
            "seed of the order": self._seed,
        }

    def _make_plan(self) -> list[Step]:
        generator = None
        chosen = list(range(len(self._corpus)))
        if self._seed is not None:
            generator = np.random.default_rng([self._seed, self._epoch])
            chosen = self._choose(generator)
        widths = self._batches.widths(self._corpus)
        plan = plan_epoch(
            [widths[example] for example in chosen],
            batch_tokens=self._batch_tokens,
            batches_per_step=self._batches_per_step,
            generator=generator,
        )
        return [[[chosen[place] for place in batch] for batch in step] for step in plan]

    def _choose(self, generator: np.random.Generator) -> list[int]:
        """Each example as often as its weight says; the fraction decides at random.

        Where chance chose fewer than a step has batches, the largest fractions are added.
        """
        weights = np.asarray(self._corpus.weights)
        if np.all(weights == 1.0):
            return list(range(len(weights)))
        whole, fraction = np.floor(weights), weights % 1.0
        added = generator.random(len(weights)) < fraction
        missing = self._batches_per_step - int(whole.sum() + added.sum())
        if missing > 0:
            order = np.argsort(np.where(added, 0.0, -fraction), kind="stable")
            added[order[:missing]] = True
        times = whole + added
        return [int(example) for example in np.repeat(np.arange(len(weights)), times.astype(int))]
