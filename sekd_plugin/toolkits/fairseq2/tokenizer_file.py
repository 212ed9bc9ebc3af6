"""A vocabulary from its file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import torch
from fairseq2.data.tokenizers import Tokenizer, TokenizerFamily
from fairseq2.gang import create_fake_gangs
from fairseq2.recipe.config import TokenizerSection
from fairseq2.runtime.dependency import get_dependency_resolver
from fairseq2.utils.config import StandardConfigMerger
from fairseq2.utils.structured import StandardValueConverter

from sekd_plugin.errors import ConfigError, SekdError, did_you_mean

_TOKENIZER_FAMILY: type[TokenizerFamily] = TokenizerFamily


def recipe_tokenizer(section: TokenizerSection, device: torch.device) -> Tokenizer:
    """The vocabulary of a recipe whose path and family are known to be there.

    Raises:
        SekdError: as :func:`load_tokenizer`.
    """
    assert section.path is not None
    overrides = cast("Mapping[str, object] | None", section.config_overrides)
    return load_tokenizer(str(section.family), section.path, device, overrides)


def load_tokenizer(
    family: str,
    path: Path,
    device: torch.device,
    config_overrides: Mapping[str, object] | None = None,
) -> Tokenizer:
    """A vocabulary from its file, or from its folder where the family is one of Hugging Face's.

    Args:
        family: the tokenizer family of fairseq2.
        path: the file or folder.
        device: where it is used.
        config_overrides: the family's settings that are not its defaults.

    Raises:
        SekdError: the file or the family is unknown, or the file is not a vocabulary.
    """
    families = {str(name) for name in get_dependency_resolver().iter_keys(_TOKENIZER_FAMILY)}
    if family not in families:
        raise ConfigError(
            "tokenizer.family", f"'{family}' is not known; {did_you_mean(family, families)}"
        )
    if not path.exists():
        near = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        raise SekdError(f"the tokenizer {path} does not exist; {did_you_mean(path.name, near)}")
    found = get_dependency_resolver().resolve(_TOKENIZER_FAMILY, key=family)
    try:
        config: object = found.config_kls()
        if config_overrides:
            converter = StandardValueConverter()
            merged = StandardConfigMerger().merge(converter.unstructure(config), config_overrides)
            config = converter.structure(merged, found.config_kls)
        return found.load_custom_tokenizer(path, config, create_fake_gangs(device))
    except Exception as error:
        raise SekdError(f"{path} is not a vocabulary of the family {family}: {error}") from None
