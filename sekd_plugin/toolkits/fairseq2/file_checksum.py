"""What tells one vocabulary from another: the bytes of its file, or of its folder's files."""

from __future__ import annotations

import hashlib
from pathlib import Path

from sekd_plugin.errors import DataError


def file_checksum(path: Path) -> str:
    """SHA-256 over the digests of a file, or of all files below a folder in the order of names.

    Raises:
        DataError: one cannot be read.
    """
    total = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if path.is_dir() and not file.is_file():
            continue
        try:
            with file.open("rb") as stream:
                total.update(hashlib.file_digest(stream, "sha256").digest())
        except OSError as error:
            raise DataError(file, f"cannot be read: {error.strerror}") from None
    return total.hexdigest()
