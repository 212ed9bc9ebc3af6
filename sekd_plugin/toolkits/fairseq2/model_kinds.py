"""The kinds of model there are, and which one a recipe's models are of."""

from __future__ import annotations

from fairseq2.recipe.config import ModelSection, ReferenceModelSection
from fairseq2.runtime.dependency import DependencyResolver
from torch.nn import Module

from sekd_plugin.errors import ConfigError
from sekd_plugin.toolkits.fairseq2.decoder_only import DECODER_ONLY
from sekd_plugin.toolkits.fairseq2.model_config import model_config
from sekd_plugin.toolkits.fairseq2.model_kind import ModelKind
from sekd_plugin.toolkits.fairseq2.sequence_to_sequence.kind import ENCODER_DECODER

KINDS: tuple[ModelKind, ...] = (DECODER_ONLY, ENCODER_DECODER)


def kind_of_class(section: str, model_class: type[Module]) -> ModelKind:
    """The kind that models of a class are of.

    Args:
        section: the recipe's section of the model, for errors.
        model_class: the model's class, or its family's.

    Raises:
        ConfigError: of none.
    """
    for kind in KINDS:
        if issubclass(model_class, kind.model_class):
            return kind
    known = "; ".join(f"{kind.families} ({kind.name})" for kind in KINDS)
    raise ConfigError(
        f"{section}.family",
        f"gives a {model_class.__name__}, which does not translate; it must be one of {known}",
    )


def stated_kind(
    key: str, section: ModelSection | ReferenceModelSection, resolver: DependencyResolver
) -> ModelKind | None:
    """The kind of a section's model, or None where its name is not known yet.

    Raises:
        ConfigError: the family is not known, or its models are of no kind.
    """
    try:
        family, _ = model_config(key, section, resolver)
    except ConfigError:
        if section.path is None and section.name is not None:
            return None  # a name may stand for what fairseq2 learns of only as it starts
        raise
    return kind_of_class(key, family.kls)


def check_same_kind(student: ModelKind, teacher: ModelKind) -> None:
    """Check that a teacher says something of what its student learns.

    Raises:
        ConfigError: they are of different kinds; both are named.
    """
    if teacher is not student:
        raise ConfigError(
            "teacher.family",
            f"the teacher is {teacher.name}, the student {student.name}; they must be of one kind",
        )
