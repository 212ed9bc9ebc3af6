"""Runs a recipe's teacher over a recipe's corpus, into a cache."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from fairseq2.data.tokenizers import Tokenizer
from fairseq2.gang import Gangs
from fairseq2.runtime.dependency import DependencyResolver
from torch.nn import Module

from sekd_plugin.checksum import sha256_of_files
from sekd_plugin.errors import ConfigError
from sekd_plugin.kernels.fused import ChunkBytes, row_chunks
from sekd_plugin.progress import Progress, SilentProgress
from sekd_plugin.rows import TargetRows, shared_vocabulary
from sekd_plugin.teachers.cache.filling import finish, is_finished, missing_shards
from sekd_plugin.teachers.cache.packing import bytes_per_token
from sekd_plugin.teachers.cache.plan import (
    CachePlan,
    begin,
    data_fingerprint,
    one_or_all,
    shard_file,
)
from sekd_plugin.teachers.cache.shards import BYTES_PER_SENTENCE, write_shard
from sekd_plugin.teachers.likeliest import Likeliest, ListedRows, list_likeliest
from sekd_plugin.toolkits.fairseq2.batching import plan_epoch
from sekd_plugin.toolkits.fairseq2.cached_teacher import keys_of_corpus
from sekd_plugin.toolkits.fairseq2.dataset import EncodedCorpus, encode_corpus
from sekd_plugin.toolkits.fairseq2.finite_logits import check_finite
from sekd_plugin.toolkits.fairseq2.model_checks import stated_sizes
from sekd_plugin.toolkits.fairseq2.model_kind import ModelKind
from sekd_plugin.toolkits.fairseq2.model_kinds import kind_of_class
from sekd_plugin.toolkits.fairseq2.recipe import build_criterion
from sekd_plugin.toolkits.fairseq2.sections import TrainingConfig
from sekd_plugin.toolkits.fairseq2.teacher_gangs import shards_for, teacher_gangs
from sekd_plugin.toolkits.fairseq2.teacher_model import fingerprint, load_teacher
from sekd_plugin.toolkits.fairseq2.tokenizer_file import recipe_tokenizer
from sekd_plugin.toolkits.fairseq2.vocabulary import check_vocabulary, output_size, padding_index


@dataclass(frozen=True, kw_only=True)
class CachingSettings:
    """How a cache is made."""

    likeliest: Likeliest = field(default_factory=Likeliest)
    """Which words a token lists."""

    probability_bits: int = 16
    """How a probability is kept: 16 bits, or 32."""

    shard_sentences: int = 2048
    """How many sentences a file holds: what is made again after an interruption, at most."""


@dataclass(frozen=True, kw_only=True)
class Made:
    """What a run of the command came to."""

    finished: bool
    """Whether the cache is whole; other processes may be at work on the rest."""

    leads: bool
    """Whether this process is the one of its group that speaks for the group."""

    num_sentences: int
    """Sentences that this process ran the teacher on."""

    num_tokens: int
    """Target tokens of these."""

    seconds: float
    """What the teacher and the writing took."""


def fill_cache(
    folder: Path,
    config: TrainingConfig,
    settings: CachingSettings,
    *,
    resolver: DependencyResolver,
    device: torch.device,
    progress: Progress,
) -> Made:
    """Run the teacher over training and validation data; several processes may do so at once.

    With ``gang.tensor_parallel_size`` t, each group of t processes holds one teacher together and
    makes files of its own.

    Args:
        folder: the cache, new or begun.
        config: the recipe, with a teacher.
        settings: what is kept.
        resolver: fairseq2's.
        device: where the teacher runs.
        progress: hears how far it is.

    Raises:
        SekdError: something does not fit together, or cannot be read or written.
    """
    criterion = build_criterion(config, device)
    if config.teacher is None:
        raise ConfigError("teacher", "is missing; there is nothing to cache without one")
    assert config.tokenizer.path is not None
    tokenizer = recipe_tokenizer(config.tokenizer, device)
    gangs = teacher_gangs(config.gang, device)
    if gangs.tp.rank != 0:
        progress = SilentProgress()
    progress.say("loading the teacher")
    teacher = load_teacher(config.teacher, resolver, gangs)
    check_vocabulary("teacher", teacher, tokenizer)
    kind = kind_of_class("teacher", type(teacher))
    kind.check_dataset(config.dataset)
    corpus = _sentences(config, kind, tokenizer, teacher)
    keys = keys_of_corpus(corpus)
    size, _ = stated_sizes(config.model, resolver)
    vocabulary = output_size(teacher) if size is None else size
    if vocabulary is None:
        raise ConfigError(
            "model.config_overrides.vocab_size", "is not stated; it is needed with this teacher"
        )
    if vocabulary > (words := output_size(teacher) or vocabulary):
        raise ConfigError(
            "teacher",
            f"has {words} words, the student {vocabulary} by its section 'model'; the teacher's "
            "number must be the same or larger",
        )
    plan = begin(
        folder,
        CachePlan(
            teacher=str(config.teacher.path or config.teacher.name),
            teacher_fingerprint=fingerprint(teacher, gangs.tp),
            tokenizer=str(config.tokenizer.path),
            tokenizer_fingerprint=sha256_of_files(config.tokenizer.path),
            template=one_or_all(kind.pairs_of(config.dataset).values()),
            vocabulary=vocabulary,
            temperature=criterion.temperature,
            top_k=min(settings.likeliest.top_k, vocabulary),
            top_p=settings.likeliest.top_p,
            probability_bits=settings.probability_bits,
            num_sentences=len(corpus),
            num_tokens=sum(map(len, corpus.targets)),
            data_fingerprint=data_fingerprint(keys),
            shard_sentences=settings.shard_sentences,
        ),
    )
    a_token = bytes_per_token(plan.top_k, plan.vocabulary, plan.probability_bits)
    progress.say(
        f"{plan.num_sentences:,} sentences, {plan.num_tokens:,} tokens; the cache takes at most "
        f"{(a_token * plan.num_tokens + BYTES_PER_SENTENCE * plan.num_sentences) / 2**20:,.1f} MiB"
    )
    filler = _Filler(teacher, kind, tokenizer, corpus, plan, config.dataset.batch_tokens, gangs)
    begun = time.monotonic()
    num_sentences = num_tokens = 0
    waiting = [] if is_finished(folder) else missing_shards(folder, plan)
    total = sum(len(plan.sentences_of(shard)) for shard in waiting)
    for sentence in progress.track(filler.fill(folder, keys), "cache-teacher", total):
        num_sentences += 1
        num_tokens += len(corpus.targets[sentence])
    leads = gangs.tp.rank == 0
    if leads:
        finish(folder, plan)
    gangs.tp.barrier()
    gangs.close()
    return Made(
        finished=is_finished(folder),
        leads=leads,
        num_sentences=num_sentences,
        num_tokens=num_tokens,
        seconds=time.monotonic() - begun,
    )


def _sentences(
    config: TrainingConfig, kind: ModelKind, tokenizer: Tokenizer, teacher: Module
) -> EncodedCorpus:
    """All sentences of training and validation, each once, by length: alike ones share a file."""
    found = EncodedCorpus()
    seen: set[bytes] = set()
    for split in ("train", "valid"):
        files = getattr(config.dataset, split)
        if not files:
            continue
        training = split == "train"
        corpus = encode_corpus(
            files,
            key=f"dataset.{split}",
            encodings=[kind.encoding(config.dataset, file, tokenizer) for file in files],
            max_source_tokens=config.dataset.max_source_tokens if training else None,
            max_target_tokens=config.dataset.max_target_tokens if training else None,
            model_tokens={"teacher": kind.longest(teacher)},
            drop_long=training,
        )
        for number, key in enumerate(keys_of_corpus(corpus)):
            if key not in seen:
                seen.add(key)
                found.add(corpus, number)
    widths = kind.batches.widths(found)
    return found.chosen(sorted(range(len(found)), key=widths.__getitem__))


class _Filler:
    """Computes the files of a cache."""

    def __init__(
        self,
        teacher: Module,
        kind: ModelKind,
        tokenizer: Tokenizer,
        corpus: EncodedCorpus,
        plan: CachePlan,
        batch_tokens: int,
        gangs: Gangs,
    ) -> None:
        self._teacher = teacher
        self._kind = kind
        self._pad_index = padding_index(tokenizer)
        self._corpus = corpus
        self._widths = kind.batches.widths(corpus)
        self._plan = plan
        self._batch_tokens = batch_tokens
        self._gangs = gangs

    def fill(self, folder: Path, keys: Sequence[bytes]) -> Iterator[int]:
        """Make the files that nobody makes; the number of each sentence that the teacher read."""
        for shard in shards_for(self._gangs.tp, folder, self._plan):
            numbers = self._plan.sentences_of(shard)
            rows: dict[int, ListedRows] = {}
            steps = plan_epoch(
                [self._widths[number] for number in numbers],
                batch_tokens=self._batch_tokens,
                batches_per_step=1,
                generator=None,
            )
            for (places,) in steps:
                batch = [numbers[place] for place in places]
                rows.update(zip(batch, self._run(batch), strict=True))
                yield from batch
            if self._gangs.tp.rank == 0:
                write_shard(
                    shard_file(folder, shard),
                    [keys[number] for number in numbers],
                    [rows[number] for number in numbers],
                    self._plan,
                )

    @torch.no_grad()
    def _run(self, sentences: Sequence[int]) -> list[ListedRows]:
        """The target tokens of each of these sentences."""
        batch = self._kind.batches.collate(self._corpus, sentences, self._pad_index)
        batch.to(self._gangs.device)
        inputs, targets = batch.as_auto_regressive()
        rows = TargetRows.of(targets.seqs, targets.target_mask)
        output = self._kind.run_teacher(self._teacher, *self._kind.batches.inputs(inputs))
        states = output.target_states(rows)
        size = self._plan.vocabulary
        parts = []
        places = [self._corpus.places[sentence] for sentence in sentences]
        for chunk in row_chunks(states.shape[0], size, ChunkBytes().logits_bytes):
            logits = output.project(states[chunk])
            logits = logits[:, : shared_vocabulary(logits.shape[-1], size)]
            check_finite("teacher", logits, rows.sentences[chunk], places)
            parts.append(
                list_likeliest(
                    logits, rows.targets[chunk], self._plan.temperature, self._plan.likeliest
                )
            )
        lengths = [len(self._corpus.targets[sentence]) for sentence in sentences]
        return ListedRows.joined(parts).to(torch.device("cpu")).split(lengths)
