"""How a sentence pair becomes token ids: the same for training and for translation.

Prompt and target are encoded apart, so that no piece spans the boundary between them.
"""

from __future__ import annotations

from functools import lru_cache

from fairseq2.data.tokenizers import TokenEncoder, Tokenizer

from sekd_plugin.corpus import PromptTemplate
from sekd_plugin.errors import ConfigError


def encode_prompt(tokenizer: Tokenizer, template: PromptTemplate, source: str) -> list[int]:
    """Beginning-of-sequence, if the vocabulary has one, and the pieces of the filled template."""
    begin = tokenizer.vocab_info.bos_idx
    pieces = [int(piece) for piece in _encoder(tokenizer)(template.prompt(source))]
    return pieces if begin is None else [begin, *pieces]


def encode_target(tokenizer: Tokenizer, target: str) -> list[int]:
    """The pieces of the translation and the end-of-sequence.

    Raises:
        ConfigError: the vocabulary has no end-of-sequence piece.
    """
    end = tokenizer.vocab_info.eos_idx
    if end is None:
        raise ConfigError("tokenizer", "has no end-of-sequence piece, so a translation cannot end")
    return [*(int(piece) for piece in _encoder(tokenizer)(target)), end]


@lru_cache(maxsize=8)
def _encoder(tokenizer: Tokenizer) -> TokenEncoder:
    return tokenizer.create_raw_encoder()
