"""The training recipe: students, teachers and baselines alike, the loss chosen by name."""

from __future__ import annotations

import torch
from fairseq2.data.tokenizers import Tokenizer
from fairseq2.datasets import DataReader
from fairseq2.evaluator import EvalUnit
from fairseq2.logging import log
from fairseq2.model_checkpoint import CorruptModelCheckpointError
from fairseq2.recipe.base import Recipe, RecipeContext
from fairseq2.recipe.composition import register_reference_model
from fairseq2.runtime.dependency import DependencyContainer
from fairseq2.task import Task
from torch.nn import Module
from typing_extensions import override

from sekd_plugin.base_criterion import Criterion, criteria
from sekd_plugin.errors import ConfigError
from sekd_plugin.plugins import import_plugins
from sekd_plugin.toolkits.fairseq2.batch_form import Batch
from sekd_plugin.toolkits.fairseq2.bleu import TranslationEvalUnit
from sekd_plugin.toolkits.fairseq2.cached_teacher import (
    CachedTeacher,
    check_cache_fits,
    check_covers,
    open_cache,
)
from sekd_plugin.toolkits.fairseq2.cli_errors import register_cli_errors
from sekd_plugin.toolkits.fairseq2.dataset import EncodedCorpus, encode_corpus
from sekd_plugin.toolkits.fairseq2.distillation import Distillation, share_steps_over
from sekd_plugin.toolkits.fairseq2.export import mend_exports
from sekd_plugin.toolkits.fairseq2.faults.counts import FaultCounts
from sekd_plugin.toolkits.fairseq2.faults.skipped_list import SkippedList
from sekd_plugin.toolkits.fairseq2.metrics.shown_names import register_descriptors
from sekd_plugin.toolkits.fairseq2.misfit import misfit
from sekd_plugin.toolkits.fairseq2.model_kind import ModelKind
from sekd_plugin.toolkits.fairseq2.model_kinds import check_same_kind, kind_of_class
from sekd_plugin.toolkits.fairseq2.reader import CorpusReader
from sekd_plugin.toolkits.fairseq2.sections import CorpusFileSection, TrainingConfig
from sekd_plugin.toolkits.fairseq2.teacher import LiveTeacher, Teacher
from sekd_plugin.toolkits.fairseq2.tensor_parallel_dropout import mend_dropout
from sekd_plugin.toolkits.fairseq2.tensor_parallel_norm import mend_gradient_norm
from sekd_plugin.toolkits.fairseq2.units import DistillationEvalUnit, DistillationTrainUnit
from sekd_plugin.toolkits.fairseq2.vocabulary import (
    check_vocabulary,
    output_size,
    padding_index,
)


class TrainingRecipe(Recipe):
    """Trains a translation model under any registered criterion."""

    @override
    def register(self, container: DependencyContainer) -> None:
        register_reference_model(container, "teacher")
        register_descriptors(container)
        register_cli_errors(container)

    @override
    def setup_model(self, context: RecipeContext, model: Module, newly_initialized: bool) -> Module:
        kind_of_class("model", type(model)).make_student(model)
        return model

    @override
    def create_task(self, context: RecipeContext) -> Task:
        config = context.get_config_as(TrainingConfig)
        criterion = build_criterion(config, context.gangs.root.device)
        tokenizer = context.get_tokenizer()
        student = load_model(context, "model")
        kind = kind_of_class("model", type(student))
        kind.check_dataset(config.dataset)
        check_vocabulary("model", student, tokenizer)
        longest = {"student": kind.longest(student)}
        teacher: Teacher | None = None
        cache = None
        if config.teacher_cache is not None:
            cache = open_cache(config, kind)
            check_cache_fits(cache, criterion, output_size(student))
            teacher = CachedTeacher(cache, kind.batches)
        elif criterion.needs_teacher:
            model = load_model(context, "teacher")
            check_same_kind(kind, kind_of_class("teacher", type(model)))
            check_vocabulary("teacher", model, tokenizer, student=student)
            longest["teacher"] = kind.longest(model)
            teacher = LiveTeacher(model, kind.run_teacher)

        share_steps_over(criterion, context.gangs)
        mend_gradient_norm(context.get_data_parallel_model(), context.gangs)
        mend_dropout(context.get_data_parallel_model(), context.gangs)
        skips = config.faults.non_finite == "skip"
        distillation = Distillation(
            context.get_data_parallel_model(), teacher, criterion, kind.batches, skips=skips
        )
        train = self._encode(config, "train", kind, tokenizer, longest)
        reader = CorpusReader(
            train,
            context.gangs,
            batch_tokens=config.dataset.batch_tokens,
            pad_index=padding_index(tokenizer),
            num_accumulate=config.trainer.grad_accumulation.num_batches,
            seed=config.common.seed if config.dataset.shuffle else None,
            batches=kind.batches,
        )
        valid = None
        if config.dataset.valid:
            valid = self._encode(config, "valid", kind, tokenizer, longest)
        if cache is not None:
            check_covers(cache, train, "dataset.train")
            if valid is not None:
                check_covers(cache, valid, "dataset.valid")
        units, readers = self._validation(context, config, kind, distillation, valid)
        counts, skipped = FaultCounts(), None
        if skips:
            most = config.faults.max_skipped
            skipped = SkippedList(context.output_dir, context.gangs, most, counts)
        trainer = context.create_trainer(
            DistillationTrainUnit(distillation, counts, skipped), reader, units, readers
        )
        if context.gangs.root.rank == 0:
            mending = kind.export_mending(student, config.dataset, tokenizer)
            trainer.register_hg_export_hook(mend_exports(context.output_dir, mending))
        return trainer

    @property
    @override
    def config_kls(self) -> type[object]:
        return TrainingConfig

    def _encode(
        self,
        config: TrainingConfig,
        split: str,
        kind: ModelKind,
        tokenizer: Tokenizer,
        longest: dict[str, tuple[int, ...]],
    ) -> EncodedCorpus:
        files: list[CorpusFileSection] = getattr(config.dataset, split)
        training = split == "train"
        corpus = encode_corpus(
            files,
            key=f"dataset.{split}",
            encodings=[kind.encoding(config.dataset, file, tokenizer) for file in files],
            max_source_tokens=config.dataset.max_source_tokens if training else None,
            max_target_tokens=config.dataset.max_target_tokens if training else None,
            model_tokens=longest,
            drop_long=training,
            keep_text=not training,
        )
        dropped = ", ".join(f"{count} {reason}" for reason, count in corpus.dropped.items())
        log.info(
            "Corpus ({}) - {:,} pairs, {:,} tokens, of which {:,} are targets; dropped: {}",
            split,
            len(corpus),
            sum(corpus.lengths()),
            sum(map(len, corpus.targets)),
            dropped or "none",
        )
        return corpus

    def _validation(
        self,
        context: RecipeContext,
        config: TrainingConfig,
        kind: ModelKind,
        distillation: Distillation,
        corpus: EncodedCorpus | None,
    ) -> tuple[list[EvalUnit[Batch]], list[DataReader[Batch]]]:
        if corpus is None:
            return [], []
        tokenizer = context.get_tokenizer()

        def reader() -> CorpusReader:
            return CorpusReader(
                corpus,
                context.gangs,
                batch_tokens=config.dataset.batch_tokens,
                pad_index=padding_index(tokenizer),
                key="dataset.valid",
                batches=kind.batches,
            )

        units: list[EvalUnit[Batch]] = [DistillationEvalUnit(distillation, context.output_dir)]
        readers: list[DataReader[Batch]] = [reader()]
        if config.translation.bleu:
            model = context.get_model()
            units.append(
                TranslationEvalUnit(
                    model, kind, tokenizer, corpus, context.gangs, config.translation
                )
            )
            readers.append(reader())
        return units, readers


def load_model(context: RecipeContext, section: str) -> Module:
    """The model of a section of the recipe.

    Raises:
        ConfigError: the checkpoint cannot be read, or is of a model of another shape.
    """
    try:
        return context.get_model(section)
    except CorruptModelCheckpointError as error:
        raise misfit(section, error) from None


def build_criterion(config: TrainingConfig, device: torch.device) -> Criterion:
    """The criterion that a recipe asks for, with the teacher section it needs.

    Args:
        config: the recipe.
        device: where it will be computed.

    Raises:
        ConfigError: a plug-in that cannot be imported, an unknown name, a setting that cannot be
            used, or a missing or idle teacher.
    """
    import_plugins(config.plugins, "plugins")
    section = config.criterion
    criterion = criteria.create({"name": section.name, "config": section.config}, "criterion")
    try:
        criterion.kernel = section.kernel
        criterion.row_kernel(device, None)  # says now, not at the first batch, what cannot be had
    except ConfigError as error:
        raise error.within("criterion") from None
    given = [key for key in ("teacher", "teacher_cache") if getattr(config, key) is not None]
    if criterion.needs_teacher and not given:
        raise ConfigError("teacher", f"is missing; the criterion '{section.name}' needs one")
    if not criterion.needs_teacher and given:
        raise ConfigError(
            given[0],
            f"would never be used by the criterion '{section.name}' as configured; "
            f"remove it (on the command line: --config {given[0]}=null)",
        )
    return criterion
