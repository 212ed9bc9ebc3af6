"""Text files that are written whole."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from sekd_plugin.errors import SekdError


def check_new_file(file: Path) -> None:
    """Check, before long work, that ``file`` can be written at its end; nothing is left behind.

    Raises:
        SekdError: it exists already, or its folder cannot be made or written in.
    """
    if os.path.lexists(file):
        raise SekdError(f"{file} exists already; name another file, or remove it first")
    folder = file.parent
    while not os.path.lexists(folder):
        folder = folder.parent
    if not folder.is_dir():
        raise SekdError(f"{file} cannot be written: {folder} is not a folder")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise SekdError(f"{file} cannot be written: {error.strerror}") from None


def write_new_file(file: Path, text: str) -> None:
    """Write ``file`` as UTF-8: it is there whole, or not at all.

    Raises:
        SekdError: it exists already, or cannot be written.
    """
    check_new_file(file)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
        partial = Path(name)
        try:
            with open(descriptor, "w", encoding="utf-8", newline="") as stream:
                stream.write(text)
            partial.chmod(mode_of_new_files())
            os.replace(partial, file)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise SekdError(f"{file} cannot be written: {error.strerror}") from None


def replace_file(file: Path, text: str) -> None:
    """Write ``file`` as UTF-8 in the place of what is there: one or the other, never a part.

    Raises:
        OSError: it cannot be written; what was there stays.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f"{file.name}.partial")
    try:
        with partial.open("w", encoding="utf-8", newline="") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)


def write_once(file: Path, text: str) -> None:
    """Write ``file`` as UTF-8, whole, unless another process has written it first.

    Raises:
        SekdError: it cannot be written.
    """
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        try:
            with partial.open("w", encoding="utf-8", newline="") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            with contextlib.suppress(FileExistsError):
                os.link(partial, file)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise SekdError(f"{file} cannot be written: {error.strerror}") from None


def mode_of_new_files() -> int:
    """Who may read and write a new file, as the process's umask says."""
    # The only way to read it is to set it.
    mask = os.umask(0o077)
    os.umask(mask)
    return 0o666 & ~mask
