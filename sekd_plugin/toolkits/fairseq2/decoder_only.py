"""Decoder-only models, as Llama's: a prompt holds the source, and its continuation translates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Unpack

from fairseq2.data.tokenizers import Tokenizer
from fairseq2.models.clm import CausalLM
from fairseq2.models.transformer_lm import TransformerLM
from fairseq2.nn import BatchLayout
from torch import Tensor
from torch.nn import Module

from sekd_plugin.corpus import PromptTemplate
from sekd_plugin.errors import ConfigError
from sekd_plugin.toolkits.fairseq2.decoding import translate_prompts
from sekd_plugin.toolkits.fairseq2.export import DecoderMending, ExportMending
from sekd_plugin.toolkits.fairseq2.pair_encoding import PairEncoding
from sekd_plugin.toolkits.fairseq2.prompted_batches import PROMPTED_BATCHES, PromptedBatches
from sekd_plugin.toolkits.fairseq2.prompts import PromptedPairs
from sekd_plugin.toolkits.fairseq2.search import SearchArguments
from sekd_plugin.toolkits.fairseq2.sections import CorpusFileSection, CorpusSection
from sekd_plugin.toolkits.fairseq2.student import make_student
from sekd_plugin.toolkits.fairseq2.teacher import TeacherOutput


class DecoderOnly:
    """How decoder-only models are trained, taught, translated with and exported."""

    name: ClassVar[str] = "decoder-only"
    families: ClassVar[str] = "llama, qwen, mistral and olmo"
    model_class: ClassVar[type[Module]] = CausalLM
    batches: ClassVar[PromptedBatches] = PROMPTED_BATCHES
    words_of_pairs: ClassVar[tuple[str, ...]] = ("template",)

    def check_dataset(self, dataset: CorpusSection) -> None:
        """The prompt says what to translate, and nothing reads a language."""
        places = {"dataset": dataset} | {
            f"dataset.{split}.{number}": file
            for split, files in (("train", dataset.train), ("valid", dataset.valid))
            for number, file in enumerate(files)
        }
        for place, section in places.items():
            for key in ("source_language", "target_language"):
                if getattr(section, key) is not None:
                    raise ConfigError(
                        f"{place}.{key}",
                        "would never be used: a decoder-only model is told by dataset.template "
                        "what to translate; remove it",
                    )

    def pairs_of(self, dataset: CorpusSection) -> Mapping[str, str]:
        """The templates that files have; each once, with the key of the first."""
        found: dict[str, str] = {}
        for split, files in (("train", dataset.train), ("valid", dataset.valid)):
            for number, file in enumerate(files):
                own = file.template is not None
                key = f"dataset.{split}.{number}.template" if own else "dataset.template"
                found.setdefault(template_of(dataset, file), key)
        return {key: template for template, key in found.items()}

    def encoding(
        self, dataset: CorpusSection, file: CorpusFileSection | None, tokenizer: Tokenizer
    ) -> PairEncoding:
        """The prompt of a file."""
        return PromptedPairs(tokenizer, PromptTemplate(template_of(dataset, file)))

    def make_student(self, model: Module) -> None:
        """Turn a model into a student, in place."""
        make_student(model)

    def longest(self, model: CausalLM) -> tuple[int, ...]:
        """Prompt and translation together."""
        return (model.max_seq_len,)

    def run_teacher(self, model: CausalLM, seqs: Tensor, layout: BatchLayout) -> TeacherOutput:
        """What a frozen teacher has to say on a batch."""
        return TeacherOutput.of(model, seqs, layout)

    def translate(
        self,
        model: CausalLM,
        sources: Sequence[Tensor],
        prefixes: Sequence[tuple[int, ...]],
        **search: Unpack[SearchArguments],
    ) -> list[list[int]]:
        """Translate prompts; nothing stands between a prompt and its translation."""
        return translate_prompts(model, sources, **search)

    def export_mending(
        self, model: TransformerLM, dataset: CorpusSection, tokenizer: Tokenizer
    ) -> ExportMending:
        """What an export is mended with."""
        return DecoderMending(model, tokenizer)


def template_of(dataset: CorpusSection, file: CorpusFileSection | None) -> str:
    """The prompt of a file's sources: its own, or that of all; None stands for the latter."""
    return dataset.template if file is None or file.template is None else file.template


DECODER_ONLY = DecoderOnly()
"""The one there is."""
