"""A YAML file of the user's, read without making anything but plain values of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from sekd_plugin.errors import DataError, did_you_mean
from sekd_plugin.settings_tree import with_texts


def read_yaml(file: Path) -> Mapping[str, object]:
    """A YAML file as a mapping.

    Raises:
        DataError: it is missing, not YAML, or not a mapping.
    """
    if not file.is_file():
        near = [path.name for path in file.parent.glob("*.yaml")] if file.parent.is_dir() else []
        raise DataError(file, f"is not a recipe file; {did_you_mean(file.name, near)}")
    try:
        content = YAML(typ="safe", pure=True).load(file.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise DataError(file, f"is not UTF-8 text (byte {error.start})") from None
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = None if mark is None else mark.line + 1
        raise DataError(file, f"is not YAML: {getattr(error, 'problem', error)}", line) from None
    if not isinstance(content, Mapping):
        raise DataError(file, "must hold a mapping of sections, such as 'criterion: {name: …}'")
    return content


def place_folder(value: Any, folder: Path) -> Any:
    """``${dir}`` stands for the recipe's folder, as it does in fairseq2."""
    return with_texts(value, lambda text: text.replace("${dir}", str(folder)))
