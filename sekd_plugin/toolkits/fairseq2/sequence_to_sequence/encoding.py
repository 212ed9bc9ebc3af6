"""How a sentence pair becomes the ids that an encoder and a decoder read.

NLLB's source is ``__source__ words </s>``, its target ``</s> __target__ words </s>``: the decoder
is given the language, and learns the words and the end.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import ClassVar, Final

from fairseq2.data.tokenizers import TokenEncoder, Tokenizer
from fairseq2.error import NotSupportedError

from sekd_plugin.errors import ConfigError, did_you_mean

PREFIX_TOKENS: Final = 2
"""What NLLB's decoder is given before the first word: the end, and the language."""


@dataclass(frozen=True, kw_only=True)
class Direction:
    """From which language to which, by a vocabulary's names for them."""

    tokenizer: Tokenizer
    """The vocabulary."""

    source: str
    """The language to translate from, as ``eng_Latn``."""

    target: str
    """The language to translate to."""

    prefix: tuple[int, ...] = field(init=False)
    """What the decoder is given before the first word, the language's piece last."""

    source_name: ClassVar[str] = "source"
    """What the ids of a source are called."""

    def __post_init__(self) -> None:
        """Look both languages up.

        Raises:
            ConfigError: the vocabulary has no such languages, or no languages at all.
        """
        _encoder(self.tokenizer, self.source, "source")
        given = _encoder(self.tokenizer, self.target, "target").prefix_indices
        assert given is not None
        object.__setattr__(self, "prefix", tuple(int(piece) for piece in given))

    @property
    def text(self) -> str:
        """Both languages."""
        return f"{self.source} → {self.target}"

    def encode_source(self, source: str) -> list[int]:
        """The ids that the encoder reads, language and end included."""
        return [int(piece) for piece in _encoder(self.tokenizer, self.source, "source")(source)]

    def encode_target(self, target: str) -> list[int]:
        """The ids that the decoder learns, the end included and :attr:`prefix` left out."""
        pieces = _encoder(self.tokenizer, self.target, "target")(target)
        return [int(piece) for piece in pieces][len(self.prefix) :]

    def sequences(self, source: list[int], target: list[int]) -> dict[str, int]:
        """One for the encoder, and one for the decoder."""
        read = len(self.prefix) + len(target) - 1
        return {"the source is": len(source), "the translation is": read}


def languages_of(tokenizer: Tokenizer) -> list[str]:
    """The languages of a vocabulary, in its order; none where it has no pieces for languages.

    fairseq2's tokenizers keep them to themselves.
    """
    languages: Iterable[str] = getattr(tokenizer, "_langs", ())

    def piece(language: str) -> int:
        return int(tokenizer.create_encoder(lang=language, mode="source")("")[0])

    return sorted(languages, key=piece)


@lru_cache(maxsize=16)
def _encoder(tokenizer: Tokenizer, language: str, mode: str) -> TokenEncoder:
    languages = languages_of(tokenizer)
    if not languages:
        raise ConfigError(
            "tokenizer.family",
            "gives a vocabulary without pieces for languages, which an encoder–decoder model "
            "needs; 'nllb' has them",
        )
    try:
        return tokenizer.create_encoder(task="translation", lang=language, mode=mode)
    except (NotSupportedError, ValueError):
        raise ConfigError(
            f"dataset.{mode}_language",
            f"'{language}' is not a language of the vocabulary; "
            f"{did_you_mean(language, languages)}",
        ) from None
