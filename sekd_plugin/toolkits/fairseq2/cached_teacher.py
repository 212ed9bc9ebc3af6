"""The teacher of a batch, read from a cache."""

from __future__ import annotations

from dataclasses import dataclass

from torch.distributed import ProcessGroup

from sekd_plugin.base_criterion import Criterion
from sekd_plugin.checksum import sha256_of_files
from sekd_plugin.errors import ConfigError
from sekd_plugin.rows import TargetRows
from sekd_plugin.teachers import SparseTeacher
from sekd_plugin.teachers.cache import TeacherCache, sentence_key
from sekd_plugin.toolkits.fairseq2.batch_form import Batch, BatchForm, Inputs
from sekd_plugin.toolkits.fairseq2.dataset import EncodedCorpus
from sekd_plugin.toolkits.fairseq2.model_kind import ModelKind
from sekd_plugin.toolkits.fairseq2.prompted_batches import PROMPTED_BATCHES
from sekd_plugin.toolkits.fairseq2.sections import TrainingConfig
from sekd_plugin.toolkits.fairseq2.teacher import TeacherArguments


def keys_of_corpus(corpus: EncodedCorpus) -> list[bytes]:
    """What each of its sentences is known by in a cache."""
    return [sentence_key(*ids) for ids in corpus.ids()]


def open_cache(config: TrainingConfig, kind: ModelKind) -> TeacherCache:
    """The cache of a recipe, if it was made for this recipe's prompt, or languages, and vocabulary.

    Args:
        config: the recipe.
        kind: what kind of model its student is.

    Raises:
        SekdError: it is none, not finished, or damaged.
        ConfigError: it was made for others; both sides are named.
    """
    assert config.teacher_cache is not None
    cache = TeacherCache(config.teacher_cache.path)
    plan, path = cache.plan, config.tokenizer.path
    for key, pairs in kind.pairs_of(config.dataset).items():
        if pairs not in plan.templates:
            raise ConfigError(
                key,
                f"is {pairs!r}; the teacher cache {cache.folder} was made with "
                + " and ".join(map(repr, plan.templates)),
            )
    if path is not None and sha256_of_files(path) != plan.tokenizer_fingerprint:
        raise ConfigError(
            "tokenizer.path",
            f"{path} is another vocabulary than {plan.tokenizer}, with which the teacher cache "
            f"{cache.folder} was made",
        )
    return cache


def check_cache_fits(cache: TeacherCache, criterion: Criterion, student_size: int | None) -> None:
    """Check that a cache has the criterion's temperature and the student's words.

    Raises:
        ConfigError: it has others; both sides are named.
    """
    plan = cache.plan
    if plan.temperature != criterion.temperature:
        raise ConfigError(
            "criterion.config.temperature",
            f"is {criterion.temperature:g}; the teacher cache {cache.folder} was made with "
            f"{plan.temperature:g}",
        )
    if student_size is not None and student_size != plan.vocabulary:
        raise ConfigError(
            "teacher_cache.path",
            f"{cache.folder} was made for a student of {plan.vocabulary} words; this one has "
            f"{student_size}",
        )


def check_covers(cache: TeacherCache, corpus: EncodedCorpus, key: str) -> None:
    """Check that every sentence of a corpus is in a cache.

    Raises:
        ConfigError: one is not; the first is named.
    """
    missing = cache.missing(keys_of_corpus(corpus))
    if missing:
        file, line = corpus.places[missing[0]]
        raise ConfigError(
            key,
            f"{len(missing):,} of {len(corpus):,} sentences are not among the "
            f"{len(cache):,} of the teacher cache {cache.folder}; the first is {file}, line {line}",
        )


@dataclass(frozen=True)
class CachedTeacher:
    """A teacher that is read, not run."""

    cache: TeacherCache
    """What was computed of it."""

    batches: BatchForm = PROMPTED_BATCHES
    """How its sentences are told from a batch."""

    def read(self, batch: Batch, inputs: Inputs, rows: TargetRows) -> CachedOutput:
        """What the cache holds on a batch's target tokens."""
        keys = [sentence_key(*ids) for ids in self.batches.ids(batch)]
        return CachedOutput(self.cache.rows(keys).to(rows.targets.device), rows)


@dataclass(frozen=True)
class CachedOutput:
    """What the cache has to say on a batch."""

    found: SparseTeacher
    """Of the target tokens, ``[n, k]``."""

    rows: TargetRows
    """Where they are."""

    def for_states(self, group: ProcessGroup | None) -> TeacherArguments:
        """Arguments for ``forward_linear``."""
        return {"teacher_logits": self.found.placed(self.rows)}

    def logits(self, rows: TargetRows) -> SparseTeacher:
        """What stands for the logits of the target tokens."""
        return self.found
