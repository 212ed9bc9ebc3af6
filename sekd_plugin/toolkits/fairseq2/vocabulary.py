"""Does the vocabulary fit the models? fairseq2 does not ask, and a misfit trains on nonsense."""

from __future__ import annotations

from fairseq2.data.tokenizers import Tokenizer, VocabularyInfo
from fairseq2.models.transformer import TransformerModel
from fairseq2.models.transformer_lm import TransformerLM
from torch import Tensor
from torch.nn import Module

from sekd_plugin.errors import ConfigError


def padding_index(tokenizer: Tokenizer) -> int:
    """The id that fills batches up: the vocabulary's padding piece, or its end piece without one.

    Padded positions are masked everywhere, so any id in the vocabulary would do.
    """
    info = tokenizer.vocab_info
    if info.pad_idx is not None:
        return info.pad_idx
    return info.eos_idx or 0


def check_vocabulary(
    section: str, model: Module, tokenizer: Tokenizer, student: Module | None = None
) -> None:
    """Check that the model's output covers the vocabulary, pads alike, and covers the student's.

    Args:
        section: the recipe's section of the model, for errors.
        model: the model.
        tokenizer: the vocabulary.
        student: for a teacher, the student.

    Raises:
        ConfigError: sizes or padding ids that do not fit; it names both.
    """
    check_sizes(
        section,
        size=output_size(model),
        pad=getattr(model, "pad_idx", None),
        info=tokenizer.vocab_info,
        student_size=None if student is None else output_size(student),
    )


def check_sizes(
    section: str,
    *,
    size: int | None,
    pad: int | None,
    info: VocabularyInfo,
    student_size: int | None = None,
) -> None:
    """The same check on numbers; None is a number that is not known, which fits everything.

    Args:
        section: the recipe's section of the model, for errors.
        size: how many words the model has.
        pad: the id that the model pads with.
        info: the vocabulary.
        student_size: for a teacher, how many words the student has.

    Raises:
        ConfigError: sizes or padding ids that do not fit; it names both.
    """
    key = f"{section}.config_overrides.vocab_size"
    words = number_of_words(info)
    if size is not None and size < words:
        raise ConfigError(
            key,
            f"the {section} has {size} words, the tokenizer {words}; it must be {words} or more",
        )
    if size is not None and student_size is not None and size < student_size:
        raise ConfigError(
            key,
            f"the teacher has {size} words, the student {student_size}; the teacher's number "
            "must be the same or larger",
        )
    if pad is not None and pad != info.pad_idx:
        raise ConfigError(
            f"{section}.config_overrides.pad_idx",
            f"the {section} pads with {pad}, the tokenizer with {info.pad_idx}; "
            "they must be the same",
        )


def number_of_words(info: VocabularyInfo) -> int:
    """How many words a model needs for a vocabulary.

    Tokenizers of Hugging Face, Qwen's among them, do not count the special pieces that were added
    behind the others.
    """
    special = (info.unk_idx, info.bos_idx, info.eos_idx, info.pad_idx, info.boh_idx, info.eoh_idx)
    return max(info.size, *(index + 1 for index in special if index is not None), 0)


def output_size(model: Module) -> int | None:
    """How many words a model's output has; None where it cannot be seen from outside."""
    if not isinstance(model, TransformerLM | TransformerModel):
        return None
    size = getattr(model.final_proj, "output_dim", None)
    if isinstance(size, int):
        return size
    weight = getattr(model.final_proj, "weight", None)
    return weight.shape[0] if isinstance(weight, Tensor) else None
