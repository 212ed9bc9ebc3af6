"""What a user can set about preparing a corpus."""

from __future__ import annotations

from dataclasses import dataclass

from sekd_plugin.checks import at_least, between, one_of
from sekd_plugin.corpus.template import PromptTemplate

MODEL_TYPES = ("unigram", "bpe")


@dataclass(frozen=True, kw_only=True)
class PreparationSettings:
    """How parallel files become splits and a vocabulary.

    Raises:
        ConfigError: a value out of range.
    """

    source_field: str = "src"
    """The field, or column, of the language to translate from."""

    target_field: str = "tgt"
    """The field, or column, of the language to translate into."""

    valid_size: int = 1000
    """Sentences taken out of the training files for validation if no file is given; 0: none."""

    test_size: int = 1000
    """Sentences taken out of the training files for the test if no file is given; 0: none."""

    seed: int = 0
    """Decides which sentences are taken out, and which the vocabulary is trained on."""

    max_broken_share: float = 0.0
    """The largest share of a split's lines that may be broken; they are left out and listed."""

    min_words: int = 1
    """The fewest words a side of a training pair may have."""

    max_words: int = 200
    """The most words a side of a training pair may have."""

    max_characters: int = 1000
    """The most characters a side of a training pair may have."""

    max_ratio: float = 6.0
    """How many times as many characters one side of a training pair may have as the other."""

    drop_copies: bool = False
    """Leave out training pairs whose target is their source, but for case and spacing."""

    vocabulary_size: int = 8000
    """Pieces in the vocabulary, special and byte pieces included."""

    model_type: str = "unigram"
    """SentencePiece's algorithm, ``unigram`` or ``bpe``."""

    character_coverage: float = 0.9995
    """The share of the text's characters that get pieces of their own; the rest are bytes."""

    vocabulary_sentences: int = 2_000_000
    """The most sentences (of both languages together) that the vocabulary is trained on."""

    template: str | None = None
    """A prompt template whose words and characters go into the vocabulary, see PromptTemplate."""

    def __post_init__(self) -> None:
        for key in ("valid_size", "test_size", "seed"):
            at_least(key, getattr(self, key), 0)
        for key in ("min_words", "max_characters", "vocabulary_size", "vocabulary_sentences"):
            at_least(key, getattr(self, key), 1)
        at_least("max_words", self.max_words, self.min_words)
        between("max_broken_share", self.max_broken_share, 0.0, 1.0)
        between("max_ratio", self.max_ratio, 1.0)
        between("character_coverage", self.character_coverage, 0.0, 1.0, open_low=True)
        one_of("model_type", self.model_type, MODEL_TYPES)
        if self.template is not None:
            PromptTemplate(self.template)
