"""Encoder–decoder models, as NLLB's: an encoder reads the source, a decoder writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Unpack

from fairseq2.data.tokenizers import Tokenizer
from fairseq2.models.seq2seq import Seq2SeqModel
from torch import Tensor
from torch.nn import Module

from sekd_plugin.errors import ConfigError
from sekd_plugin.toolkits.fairseq2.export import ExportMending
from sekd_plugin.toolkits.fairseq2.search import SearchArguments
from sekd_plugin.toolkits.fairseq2.sections import CorpusFileSection, CorpusSection
from sekd_plugin.toolkits.fairseq2.sequence_to_sequence.batch import PAIR_BATCHES, PairBatches
from sekd_plugin.toolkits.fairseq2.sequence_to_sequence.decoding import translate_sources
from sekd_plugin.toolkits.fairseq2.sequence_to_sequence.encoding import Direction
from sekd_plugin.toolkits.fairseq2.sequence_to_sequence.export import NllbMending
from sekd_plugin.toolkits.fairseq2.sequence_to_sequence.student import (
    make_encoder_decoder_student,
)
from sekd_plugin.toolkits.fairseq2.sequence_to_sequence.teacher import run_teacher
from sekd_plugin.toolkits.fairseq2.teacher import TeacherOutput


class EncoderDecoder:
    """How encoder–decoder models are trained, taught, translated with and exported."""

    name: ClassVar[str] = "encoder–decoder"
    families: ClassVar[str] = "nllb"
    model_class: ClassVar[type[Module]] = Seq2SeqModel
    batches: ClassVar[PairBatches] = PAIR_BATCHES
    words_of_pairs: ClassVar[tuple[str, ...]] = ("source_language", "target_language")

    def check_dataset(self, dataset: CorpusSection) -> None:
        """Nothing reads a prompt."""
        unread = ["dataset.template"] if dataset.template != CorpusSection.template else []
        unread += [
            f"dataset.{split}.{number}.template"
            for split, files in (("train", dataset.train), ("valid", dataset.valid))
            for number, file in enumerate(files)
            if file.template is not None
        ]
        if unread:
            raise ConfigError(
                unread[0],
                "would never be used: an encoder–decoder model reads no prompt, and "
                "dataset.source_language and target_language say what to translate; remove it",
            )

    def pairs_of(self, dataset: CorpusSection) -> Mapping[str, str]:
        """The languages of the dataset; those of a file stand among the ids of its pairs."""
        source, target = (language or "?" for language in languages_of(dataset, None))
        return {"dataset.source_language": f"{source} → {target}"}

    def encoding(
        self, dataset: CorpusSection, file: CorpusFileSection | None, tokenizer: Tokenizer
    ) -> Direction:
        """The direction of a file."""
        source, target = languages_of(dataset, file)
        for side, language in (("source", source), ("target", target)):
            if language is None:
                raise ConfigError(
                    f"dataset.{side}_language",
                    "is missing; an encoder–decoder model needs it, as the vocabulary names it: "
                    "deu_Latn",
                )
        return Direction(tokenizer=tokenizer, source=str(source), target=str(target))

    def make_student(self, model: Module) -> None:
        """Turn a model into a student, in place."""
        make_encoder_decoder_student(model)

    def longest(self, model: Seq2SeqModel) -> tuple[int, ...]:
        """Source and target."""
        return model.max_source_seq_len, model.max_target_seq_len

    def run_teacher(self, model: Seq2SeqModel, *inputs: Any) -> TeacherOutput:
        """What a frozen teacher has to say on a batch."""
        return run_teacher(model, *inputs)

    def translate(
        self,
        model: Seq2SeqModel,
        sources: Sequence[Tensor],
        prefixes: Sequence[tuple[int, ...]],
        **search: Unpack[SearchArguments],
    ) -> list[list[int]]:
        """Translate sources, each behind its prefix."""
        return translate_sources(model, sources, prefixes=prefixes, **search)

    def export_mending(
        self, model: Seq2SeqModel, dataset: CorpusSection, tokenizer: Tokenizer
    ) -> ExportMending:
        """What an export is mended with: the first file says into which language."""
        return NllbMending(self.encoding(dataset, dataset.train[0], tokenizer))


def languages_of(
    dataset: CorpusSection, file: CorpusFileSection | None
) -> tuple[str | None, str | None]:
    """From which language into which: a file's own, or those of all; None stands for the latter."""
    source, target = dataset.source_language, dataset.target_language
    if file is not None:
        source, target = file.source_language or source, file.target_language or target
    return source, target


ENCODER_DECODER = EncoderDecoder()
"""The one there is."""
