"""A SentencePiece vocabulary: pieces 0–3 are unk, bos, eos and pad, and nothing is unknown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from sekd_plugin.corpus.settings import PreparationSettings
from sekd_plugin.corpus.template import PLACEHOLDER
from sekd_plugin.errors import ConfigError, SekdError

if TYPE_CHECKING:
    from sentencepiece import SentencePieceProcessor

UNK_ID, BOS_ID, EOS_ID, PAD_ID = range(4)

# Fixed, whatever the machine has, because the result depends on how the work is shared out.
_THREADS = 4
_ERRORS_ONLY_BY_EXCEPTION = 5
_WHITE_SPACE = " \t\n\r\v\f"


def train_vocabulary(
    sentences: Iterator[str], path: Path, settings: PreparationSettings
) -> SentencePieceProcessor:
    r"""Train on ``sentences``, write ``path`` (.model) and, for people, ``.vocab`` beside it.

    Text is not normalised: what is encoded comes back unchanged by decoding, rare characters as
    UTF-8 bytes. ``"\n"`` is a piece, so that a prompt's line end separates it from what follows.

    Raises:
        ConfigError: a vocabulary size that this text cannot have, with the one it can.
        SekdError: sentencepiece is missing, or refuses the text.
    """
    try:
        import sentencepiece
    except ImportError:
        raise SekdError(
            "a vocabulary needs the package 'sentencepiece': pip install sentencepiece"
        ) from None
    template = settings.template or ""
    required = set(template.replace(PLACEHOLDER, "")) - set(_WHITE_SPACE)
    with path.open("wb") as stream:
        # That the disk is full shall be told by the disk, not by sentencepiece.
        model = BytesIO()
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=sentences,
                model_writer=model,
                vocab_size=settings.vocabulary_size,
                model_type=settings.model_type,
                character_coverage=settings.character_coverage,
                required_chars="".join(sorted(required)),
                unk_id=UNK_ID,
                bos_id=BOS_ID,
                eos_id=EOS_ID,
                pad_id=PAD_ID,
                byte_fallback=True,
                normalization_rule_name="identity",
                user_defined_symbols=["\n"],
                # Longer sentences would be left out in silence; UTF-8 needs up to 4 bytes.
                max_sentence_length=4 * max(settings.max_characters, len(template)),
                num_threads=_THREADS,
                minloglevel=_ERRORS_ONLY_BY_EXCEPTION,
            )
        except (RuntimeError, OSError) as error:
            raise _explained(str(error), settings.vocabulary_size) from None
        stream.write(model.getvalue())
    processor = sentencepiece.SentencePieceProcessor(model_file=str(path))
    path.with_suffix(".vocab").write_text(_listing(processor), encoding="utf-8")
    return processor


def template_parts(template: str | None) -> list[str]:
    """The texts of a prompt template that a model reads around each source sentence."""
    lines = (template or "").replace(PLACEHOLDER, "\n").splitlines()
    return [line.strip() for line in lines if line.strip()]


def _explained(message: str, size: int) -> SekdError:
    too_large = re.search(r"set it to a value <= (\d+)", message)
    if too_large:
        problem = f"{size} is too large for this text; the largest possible is {too_large[1]}"
        return ConfigError("vocabulary_size", problem)
    too_small = re.search(r"smaller than required_chars\. \d+ vs (\d+)", message)
    if too_small:
        problem = f"{size} is too small: the characters and bytes alone need {too_small[1]}"
        return ConfigError("vocabulary_size", problem)
    return SekdError(f"sentencepiece could not train a vocabulary: {' '.join(message.split())}")


def _listing(processor: SentencePieceProcessor) -> str:
    lines = (
        f"{processor.id_to_piece(index)}\t{processor.get_score(index):g}".replace("\n", "\\n")
        for index in range(processor.get_piece_size())
    )
    return "\n".join(lines) + "\n"
