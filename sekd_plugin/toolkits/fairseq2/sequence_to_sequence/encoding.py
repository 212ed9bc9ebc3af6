"""How a sentence pair becomes the ids that an encoder and a decoder read.

NLLB's source is ``__source__ words </s>``, its target ``</s> __target__ words </s>``: the decoder
is given the language, and learns the words and the end.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from fairseq2.data.tokenizers import TokenEncoder, Tokenizer
from fairseq2.error import NotSupportedError

from sekd_plugin.errors import ConfigError


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

    def __post_init__(self) -> None:
        """Look both languages up.

        Raises:
            ConfigError: the vocabulary has no such languages, or no languages at all.
        """
        _encoder(self.tokenizer, self.source, "source")
        given = _encoder(self.tokenizer, self.target, "target").prefix_indices
        if given is None or given.numel() == 0:
            raise ConfigError("tokenizer.family", "has no language pieces; 'nllb' has")
        object.__setattr__(self, "prefix", tuple(int(piece) for piece in given))

    def encode_source(self, text: str) -> list[int]:
        """The ids that the encoder reads, language and end included."""
        return [int(piece) for piece in _encoder(self.tokenizer, self.source, "source")(text)]

    def encode_target(self, text: str) -> list[int]:
        """The ids that the decoder learns, the end included and :attr:`prefix` left out."""
        pieces = _encoder(self.tokenizer, self.target, "target")(text)
        return [int(piece) for piece in pieces][len(self.prefix) :]


@lru_cache(maxsize=16)
def _encoder(tokenizer: Tokenizer, language: str, mode: str) -> TokenEncoder:
    try:
        return tokenizer.create_encoder(task="translation", lang=language, mode=mode)
    except (NotSupportedError, ValueError) as error:
        problem = " ".join(str(error).replace("`", "").split())
        raise ConfigError(
            f"dataset.{mode}_language", f"'{language}' cannot be used: {problem}"
        ) from None
