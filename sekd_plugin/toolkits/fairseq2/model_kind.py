"""What a recipe needs to know of a kind of model: decoder-only, or encoder–decoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, Unpack

from fairseq2.data.tokenizers import Tokenizer
from torch import Tensor
from torch.nn import Module

from sekd_plugin.toolkits.fairseq2.batch_form import BatchForm
from sekd_plugin.toolkits.fairseq2.export import ExportMending
from sekd_plugin.toolkits.fairseq2.pair_encoding import PairEncoding
from sekd_plugin.toolkits.fairseq2.search import SearchArguments
from sekd_plugin.toolkits.fairseq2.sections import CorpusFileSection, CorpusSection
from sekd_plugin.toolkits.fairseq2.teacher import TeacherOutput


class ModelKind(Protocol):
    """How models of a kind are trained, taught, translated with and exported."""

    @property
    def name(self) -> str:
        """What people call it."""
        ...

    @property
    def families(self) -> str:
        """fairseq2's families of such models, in words."""
        ...

    @property
    def model_class(self) -> type[Module]:
        """fairseq2's class of such models."""
        ...

    @property
    def batches(self) -> BatchForm:
        """How its batches are made and read."""
        ...

    @property
    def words_of_pairs(self) -> tuple[str, ...]:
        """The settings of ``dataset`` that say what to translate, beside the sentences."""
        ...

    def check_dataset(self, dataset: CorpusSection) -> None:
        """Check that a recipe says nothing of its pairs that this kind would never use.

        Raises:
            ConfigError: it does.
        """
        ...

    def pairs_of(self, dataset: CorpusSection) -> Mapping[str, str]:
        """The keys that say how pairs are made, and what each says, in words."""
        ...

    def encoding(
        self, dataset: CorpusSection, file: CorpusFileSection | None, tokenizer: Tokenizer
    ) -> PairEncoding:
        """How the pairs of a file are encoded; None stands for what the dataset says of all.

        Raises:
            ConfigError: a setting is missing, or the vocabulary cannot encode them so.
        """
        ...

    def make_student(self, model: Module) -> None:
        """Turn a model into a student, in place; its parameters and their names stay.

        Raises:
            ConfigError: its class cannot be a student.
        """
        ...

    def longest(self, model: Any) -> tuple[int, ...]:
        """The longest a model takes of the sequences of :meth:`PairEncoding.sequences`."""
        ...

    def run_teacher(self, model: Any, *inputs: Any) -> TeacherOutput:
        """What a frozen teacher has to say on a batch."""
        ...

    def translate(
        self,
        model: Any,
        sources: Sequence[Tensor],
        prefixes: Sequence[tuple[int, ...]],
        **search: Unpack[SearchArguments],
    ) -> list[list[int]]:
        """Translate sources, each with what its translation begins with."""
        ...

    def export_mending(
        self, model: Any, dataset: CorpusSection, tokenizer: Tokenizer
    ) -> ExportMending:
        """What an export is mended with."""
        ...
