"""Does the vocabulary fit the models? fairseq2 does not ask, and a misfit trains on nonsense."""

from __future__ import annotations

from fairseq2.data.tokenizers import Tokenizer
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
    key = f"{section}.config_overrides.vocab_size"
    info = tokenizer.vocab_info
    size = output_size(model)
    if size is not None and size < info.size:
        raise ConfigError(
            key,
            f"the {section} has {size} words, the tokenizer {info.size}; "
            f"it must be {info.size} or more",
        )
    if student is not None:
        wanted = output_size(student)
        if size is not None and wanted is not None and size < wanted:
            raise ConfigError(
                key,
                f"the teacher has {size} words, the student {wanted}; the teacher's number must "
                "be the same or larger",
            )
    pad = getattr(model, "pad_idx", None)
    if pad is not None and pad != info.pad_idx:
        raise ConfigError(
            f"{section}.config_overrides.pad_idx",
            f"the {section} pads with {pad}, the tokenizer with {info.pad_idx}; "
            "they must be the same",
        )


def output_size(model: Module) -> int | None:
    """How many words a model's output has; None where it cannot be seen from outside."""
    if not isinstance(model, TransformerLM):
        return None
    size = getattr(model.final_proj, "output_dim", None)
    if isinstance(size, int):
        return size
    weight = getattr(model.final_proj, "weight", None)
    return weight.shape[0] if isinstance(weight, Tensor) else None
