"""A run's folder: refused when it is another run's, taken away when nothing came of it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from fairseq2.utils.structured import StandardValueConverter

from sekd_plugin.errors import ConfigError, SekdError
from sekd_plugin.recipe_file import read_yaml
from sekd_plugin.toolkits.fairseq2.sections import TrainingConfig

_BEFORE_THE_RECORD = {"logs", "cache"}
"""What fairseq2 makes before it writes the configuration; another process may be that far."""

_MAY_CHANGE = "faults."
"""What does not change what is trained: a run that a fault has stopped can go on past it."""

_START = {Path("config.yaml"), Path("checkpoints/model.yaml")}
"""What it writes before the first step."""


def check_output_folder(folder: Path, config: TrainingConfig) -> None:
    """Check that ``folder`` is new, empty, or holds this very run, which then resumes.

    Raises:
        SekdError: it holds a run of another configuration, or files that are no run's; or an
            export is asked for, and the folder's name would keep fairseq2 from making it.
    """
    check_export(folder, config)
    if folder.exists() and not folder.is_dir():
        raise SekdError(f"{folder} is a file; name a folder for the run")
    if not folder.is_dir() or {entry.name for entry in folder.iterdir()} <= _BEFORE_THE_RECORD:
        return
    record = folder / "config.yaml"
    if not record.is_file():
        raise SekdError(f"{folder} is not empty and holds no run; name another folder")
    theirs = _flat(read_yaml(record))
    ours = _flat(StandardValueConverter().unstructure(config))
    for key in sorted({*theirs, *ours}):
        if theirs.get(key) != ours.get(key) and not key.startswith(_MAY_CHANGE):
            raise SekdError(
                f"{folder} holds a run of another configuration: {key} is "
                f"{theirs.get(key, 'not set')!r} there and {ours.get(key, 'not set')!r} here; "
                "name another folder, or the same configuration to resume"
            )


def check_export(folder: Path, config: TrainingConfig) -> None:
    """Check that fairseq2 can export from a run's folder, where that is asked for.

    fairseq2 0.8.1 names the checkpoint to its exporter by a URI, and does not decode it.

    Raises:
        ConfigError: the folder's name would be another one in a URI.
    """
    whole = folder.resolve()
    if config.regime.export_hugging_face and whole.as_uri() != f"file://{whole.as_posix()}":
        raise ConfigError(
            "regime.export_hugging_face",
            f"fairseq2 cannot export from {whole}; name a folder without spaces and with none "
            "but plain letters, or set it to false",
        )


def discard_if_nothing_came(folder: Path) -> None:
    """Remove a folder that this run made and in which it wrote nothing but its start.

    The start is the configuration, the model's shape, and what was printed.
    """
    for path in folder.rglob("*"):
        place = path.relative_to(folder)
        if not path.is_dir() and place.parts[0] not in _BEFORE_THE_RECORD and place not in _START:
            return
    shutil.rmtree(folder, ignore_errors=True)


def _flat(value: object, prefix: str = "") -> dict[str, object]:
    if isinstance(value, Mapping):
        children = [(str(key), child) for key, child in value.items()]
    elif isinstance(value, list | tuple):
        children = [(str(number), child) for number, child in enumerate(value)]
    else:
        return {prefix: value}
    flat: dict[str, object] = {}
    for key, child in children:
        flat |= _flat(child, f"{prefix}.{key}" if prefix else key)
    return flat
