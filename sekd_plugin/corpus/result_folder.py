"""A folder that is either a finished result or not there, and that is never overwritten."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sekd_plugin.checksum import sha256_of_file
from sekd_plugin.errors import SekdError

REPORT = "report.json"


def finished_report(folder: Path, made_from: Mapping[str, Any]) -> dict[str, Any] | None:
    """The report of the result that ``folder`` holds, or None if there is nothing yet.

    Raises:
        SekdError: the folder holds something else: other files, the result of other inputs or
            settings, or a result that has been changed since.
    """
    if not folder.exists() and not folder.is_symlink():
        return None
    if not folder.is_dir():
        raise SekdError(f"{folder}: is not a folder; choose another name")
    if not any(folder.iterdir()):
        return None
    try:
        report: dict[str, Any] = json.loads((folder / REPORT).read_text(encoding="utf-8"))
        before, files = report["made_from"], report["files"]
        sums = {name: entry["sha256"] for name, entry in files.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise SekdError(
            f"{folder}: already holds files, and not a result of this command; "
            "choose another folder"
        ) from None
    if before != made_from:
        raise SekdError(
            f"{folder}: holds the result of {_difference(before, made_from)}; "
            "choose another folder, or remove this one first"
        )
    for name, checksum in sums.items():
        file = folder / name
        if not file.is_file() or sha256_of_file(file) != checksum:
            state = "was changed since" if file.exists() else "is missing although"
            raise SekdError(
                f"{file}: {state} this result was made; "
                "choose another folder, or remove this one first"
            )
    return report


@contextmanager
def disk_errors_named(folder: Path) -> Iterator[None]:
    """Tell what the disk refuses in one line that names ``folder``.

    Raises:
        SekdError: something could not be written.
    """
    try:
        yield
    except BrokenPipeError:  # nobody reads what is printed any more
        raise
    except OSError as error:
        raise SekdError(f"{folder}: cannot be written: {error.strerror or error}") from None


@contextmanager
def partial_folder(folder: Path, names: frozenset[str]) -> Iterator[Path]:
    """A folder ``NAME.partial`` to write the files ``names`` in; it becomes ``folder`` at the end.

    What an earlier, killed run left in it is removed first; after an error nothing is left.

    Raises:
        SekdError: another process is at work there, or it holds somebody else's files.
    """
    partial = folder.with_name(folder.name + ".partial")
    try:
        partial.mkdir(parents=True, exist_ok=True)
        lock = os.open(partial, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise SekdError(f"{partial}: cannot be made: {error.strerror}") from None
    try:
        try:
            # The system releases it when the process ends, however it ends.
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SekdError(f"{partial}: another process is writing there") from None
        _empty(partial, names)
        try:
            yield partial
            _rename(partial, folder)
        except BaseException:
            _empty(partial, names)
            partial.rmdir()
            raise
    finally:
        os.close(lock)


def _rename(partial: Path, folder: Path) -> None:
    try:
        partial.rename(folder)
    except OSError as error:
        raise SekdError(f"{folder}: came into being meanwhile: {error.strerror}") from None


def _empty(partial: Path, names: frozenset[str]) -> None:
    entries = list(partial.iterdir())
    for entry in entries:
        if entry.name not in names:
            raise SekdError(
                f"{entry}: is in the way; the folder for unfinished work holds other files"
            )
    for entry in entries:
        entry.unlink()


def _difference(before: object, now: Mapping[str, Any]) -> str:
    """What the first difference is, in words."""
    if not isinstance(before, Mapping):
        return "something else"
    for section, entries in now.items():
        old = before.get(section)
        if old == entries:
            continue
        if not isinstance(old, Mapping) or not isinstance(entries, Mapping):
            return f"another {section}"
        for key in entries:
            if old.get(key) != entries[key]:
                if section == "inputs":
                    return f"other {key} files"
                return f"other {section} ({key} was {old.get(key)!r}, is now {entries[key]!r})"
    return "something else"
