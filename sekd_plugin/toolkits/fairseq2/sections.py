"""The recipe's configuration: what may stand in a YAML file, with every default."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from fairseq2.recipe.config import (
    CommonSection,
    GangSection,
    LRSchedulerSection,
    MixedPrecisionConfig,
    ModelSection,
    OptimizerSection,
    ReferenceModelSection,
    RegimeSection,
    TokenizerSection,
    TrainerSection,
)

from sekd_plugin.corpus.noise import Noise


@dataclass(kw_only=True)
class CorpusFileSection:
    """One file of sentence pairs."""

    path: Path
    """The file: .jsonl, .tsv, or plain text with ``target_path``; .gz and .xz as well."""

    target_path: Path | None = None
    """The parallel file of translations, for plain text."""

    source_field: str = "src"
    """The field, or column, to translate from. Swap the two fields to swap the direction."""

    target_field: str = "tgt"
    """The field, or column, to translate to."""

    template: str | None = None
    """The prompt of the file's sources, where it is not ``dataset.template``."""

    weight: float = 1.0
    """How often a sentence is seen in an epoch: 2 is twice; 0.5 is a random half, drawn anew."""

    source_language: str | None = None
    """The language of the file's sources, where it is not ``dataset.source_language``."""

    target_language: str | None = None
    """The language of the file's translations, where it is not ``dataset.target_language``."""

    noise: Noise | None = None
    """Pairs to spoil, for study; None spoils none."""


@dataclass(kw_only=True)
class CorpusSection:
    """The parallel corpus, the prompt, and how batches are cut."""

    train: list[CorpusFileSection] = field(default_factory=list)
    """The training files."""

    valid: list[CorpusFileSection] = field(default_factory=list)
    """The validation files; none means no validation."""

    template: str = "Translate this from English to German: {source}\n"
    """The prompt of a decoder-only model; ``{source}`` stands for the sentence to translate."""

    source_language: str | None = None
    """The language to translate from, for an encoder–decoder model: a name of its vocabulary, as
    ``eng_Latn``."""

    target_language: str | None = None
    """The language to translate to, likewise, as ``deu_Latn``."""

    max_source_tokens: int = 256
    """Pairs whose prompt, or source, has more tokens are dropped from training, and counted."""

    max_target_tokens: int = 256
    """Pairs whose translation is longer, in tokens, are dropped from training, and counted."""

    batch_tokens: int = 1536
    """The most tokens in a batch, padding included; a longer sentence makes a batch of its own."""

    shuffle: bool = True
    """Whether an epoch has an order of its own, drawn from ``common.seed``."""


@dataclass(kw_only=True)
class CriterionSection:
    """The loss, by name."""

    name: str = "cross_entropy"
    """``self_evolution_kd``, ``word_kd``, ``cross_entropy``, or ``package.module:Class``."""

    config: object = None
    """The criterion's settings; None takes their defaults."""

    kernel: str = "auto"
    """How it is computed: ``chunked``, from hidden states and without the logits of a batch;
    ``triton``, likewise with kernels of its own on a GPU; ``reference``, the definition by
    autograd over all logits. ``auto`` takes ``triton`` where it can be had, else ``chunked``."""


@dataclass(kw_only=True)
class TranslationSection:
    """Translation of the validation set, for BLEU during training."""

    bleu: bool = False
    """Whether validation also translates and scores. ``regime.score_metric: bleu`` needs it."""

    max_sentences: int | None = None
    """Translate only the first so many sentences; None translates all."""

    max_target_tokens: int = 256
    """Where a translation without an end is cut off."""

    beam_size: int = 1
    """1 is greedy."""


@dataclass(kw_only=True)
class TeacherCacheSection:
    """A teacher that was run already."""

    path: Path
    """A folder that ``sekd cache-teacher`` has made."""


@dataclass(kw_only=True)
class FaultsSection:
    """What is done where a number is not finite."""

    non_finite: Literal["stop", "skip"] = "stop"
    """``stop`` ends training. ``skip`` trains without the sentences on which the teacher's output
    is not finite, and lists them in ``OUT/skipped``; a student that is not finite still ends it."""

    max_skipped: int = 100
    """How many sentences a run may skip, over all processes; one that comes again counts again."""


@dataclass(kw_only=True)
class TrainingConfig:
    """A whole recipe."""

    plugins: list[str] = field(default_factory=list)
    """Modules to import first, as ``my_package.divergences``: what their decorators register can
    then be named below. Importing runs their code."""

    model: ModelSection = field(default_factory=lambda: ModelSection(family="llama"))
    """The student, or whatever is trained: a family from scratch, or a checkpoint."""

    teacher: ReferenceModelSection | None = None
    """The frozen teacher; needed by the distillation criteria, refused by the others."""

    teacher_cache: TeacherCacheSection | None = None
    """What ``sekd cache-teacher`` has kept of the teacher, instead of the teacher itself."""

    tokenizer: TokenizerSection = field(
        default_factory=lambda: TokenizerSection(path=Path("vocabulary.model"), family="llama")
    )
    """The vocabulary, shared by student and teacher."""

    dataset: CorpusSection = field(default_factory=CorpusSection)
    """The corpus."""

    criterion: CriterionSection = field(default_factory=CriterionSection)
    """The loss."""

    translation: TranslationSection = field(default_factory=TranslationSection)
    """BLEU during validation."""

    faults: FaultsSection = field(default_factory=FaultsSection)
    """Numbers that are not finite."""

    gang: GangSection = field(default_factory=GangSection)
    """How processes share the work."""

    trainer: TrainerSection = field(
        default_factory=lambda: TrainerSection(
            mixed_precision=MixedPrecisionConfig(mode="off"), max_grad_norm=1.0
        )
    )
    """Precision, accumulation, data parallelism."""

    optimizer: OptimizerSection = field(default_factory=OptimizerSection)
    """The optimizer."""

    lr_scheduler: LRSchedulerSection | None = field(default_factory=LRSchedulerSection)
    """The learning-rate schedule."""

    regime: RegimeSection = field(
        default_factory=lambda: RegimeSection(num_steps=1000, publish_metrics_every_n_steps=10)
    )
    """How long, and when to validate, save and report."""

    common: CommonSection = field(default_factory=lambda: CommonSection(no_sweep_dir=True))
    """Seed, recorders, cluster. Output goes to the folder that is named, not below it."""
