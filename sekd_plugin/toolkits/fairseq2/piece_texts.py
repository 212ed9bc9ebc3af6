"""What the pieces of a vocabulary look like, one by one."""

from __future__ import annotations

import torch
from fairseq2.data.tokenizers import Tokenizer

from sekd_plugin.toolkits.fairseq2.vocabulary import number_of_words

_SPECIAL = ("unk", "bos", "eos", "pad", "boh", "eoh")
_BROKEN = "\N{REPLACEMENT CHARACTER}"


class PieceTexts:
    """The text of each piece as it stands in a sentence, with the space before a word.

    A decoder drops the space before the first word, so a piece is read behind another one, and
    what that one gives by itself is taken away. A piece that is no text, such as a part of a
    character or a row that fills a model's vocabulary up, has its number instead.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._decode = tokenizer.create_decoder()
        self._before = [int(piece) for piece in tokenizer.create_raw_encoder()("a")]
        self._start = self._text(self._before)
        info = tokenizer.vocab_info
        self._size = number_of_words(info)
        self._special = {
            getattr(info, f"{name}_idx"): f"<{name}>"
            for name in _SPECIAL
            if getattr(info, f"{name}_idx") is not None
        }

    def __call__(self, piece: int) -> str:
        """The text of the piece of this id; a sign in angle brackets where it has none."""
        if piece in self._special:
            return self._special[piece]
        if piece >= self._size:
            return f"<{piece}>"
        whole = self._text([*self._before, piece])
        text = whole.removeprefix(self._start)
        if _BROKEN in text or text == "" or not whole.startswith(self._start):
            return f"<{piece}>"
        return text

    def _text(self, pieces: list[int]) -> str:
        text: str = self._decode(torch.tensor(pieces, dtype=torch.int64))
        return text
