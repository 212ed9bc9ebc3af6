"""How a sentence pair becomes token ids: the same for training and for translation.

Prompt and target are encoded apart, so that no piece spans the boundary between them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

from fairseq2.data.tokenizers import TokenEncoder, Tokenizer

from sekd_plugin.corpus import PromptTemplate
from sekd_plugin.errors import ConfigError


@dataclass(frozen=True)
class PromptedPairs:
    """Prompt and translation, one sequence for a decoder."""

    tokenizer: Tokenizer
    """The vocabulary."""

    template: PromptTemplate
    """The prompt."""

    prefix: ClassVar[tuple[int, ...]] = ()
    """Nothing: the prompt is all that stands before a target."""

    source_name: ClassVar[str] = "prompt"
    """What the ids of a source are called."""

    @property
    def text(self) -> str:
        """The template."""
        return self.template.text

    def encode_source(self, source: str) -> list[int]:
        """Beginning-of-sequence, if the vocabulary has one, and the pieces of the prompt."""
        begin = self.tokenizer.vocab_info.bos_idx
        pieces = [int(piece) for piece in _encoder(self.tokenizer)(self.template.prompt(source))]
        return pieces if begin is None else [begin, *pieces]

    def encode_target(self, target: str) -> list[int]:
        """The pieces of the translation and the end-of-sequence.

        Raises:
            ConfigError: the vocabulary has no end-of-sequence piece.
        """
        end = self.tokenizer.vocab_info.eos_idx
        if end is None:
            raise ConfigError(
                "tokenizer", "has no end-of-sequence piece, so a translation cannot end"
            )
        return [*(int(piece) for piece in _encoder(self.tokenizer)(target)), end]

    def sequences(self, source: list[int], target: list[int]) -> dict[str, int]:
        """One sequence holds both."""
        return {"prompt and translation are": len(source) + len(target) - 1}


@lru_cache(maxsize=8)
def _encoder(tokenizer: Tokenizer) -> TokenEncoder:
    return tokenizer.create_raw_encoder()
