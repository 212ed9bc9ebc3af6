"""A vocabulary from its file."""

from __future__ import annotations

from pathlib import Path

import torch
from fairseq2.data.tokenizers import Tokenizer, TokenizerFamily
from fairseq2.gang import create_fake_gangs
from fairseq2.runtime.dependency import get_dependency_resolver

from sekd_plugin.errors import ConfigError, SekdError, did_you_mean

_TOKENIZER_FAMILY: type[TokenizerFamily] = TokenizerFamily


def load_tokenizer(family: str, path: Path, device: torch.device) -> Tokenizer:
    """A vocabulary from its file.

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
        return found.load_custom_tokenizer(path, found.config_kls(), create_fake_gangs(device))
    except Exception as error:
        raise SekdError(f"{path} is not a vocabulary of the family {family}: {error}") from None
