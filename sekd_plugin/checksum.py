"""What tells files apart by their bytes."""

from __future__ import annotations

import hashlib
from pathlib import Path

from sekd_plugin.errors import DataError


def sha256_of_file(file: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal.

    Raises:
        DataError: it cannot be read.
    """
    return _digest(file).hex()


def sha256_of_files(path: Path) -> str:
    """SHA-256 over the digests of a file, or of all files below a folder in the order of names.

    Raises:
        DataError: one cannot be read.
    """
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    total = hashlib.sha256()
    for file in files:
        if not file.is_dir():
            total.update(_digest(file))
    return total.hexdigest()


def _digest(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").digest()
    except OSError as error:
        raise DataError(file, f"cannot be read: {error.strerror}") from None
