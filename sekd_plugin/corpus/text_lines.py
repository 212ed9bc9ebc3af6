"""The lines of a UTF-8 text file, plain or compressed, one at a time."""

from __future__ import annotations

import difflib
import gzip
import lzma
import zlib
from collections.abc import Iterator
from io import BufferedIOBase
from pathlib import Path

from sekd_plugin.corpus.broken_lines import OnBroken, refuse
from sekd_plugin.errors import DataError

COMPRESSIONS: dict[str, type[gzip.GzipFile] | type[lzma.LZMAFile]] = {
    ".gz": gzip.GzipFile,
    ".xz": lzma.LZMAFile,
}

_BYTE_ORDER_MARK = "\ufeff"
_NAMES_SHOWN = 8


def read_lines(path: Path, on_broken: OnBroken = refuse) -> Iterator[tuple[int, str]]:
    """Each line of ``path`` with its number from 1, without its line end (LF or CR LF).

    The ending ``.gz`` or ``.xz`` says that the file is compressed. Only one line is held at a
    time. A byte-order mark at the start is skipped.

    Args:
        path: the file.
        on_broken: called with a line that is not UTF-8, which is then left out.

    Raises:
        DataError: no such file, a folder, an empty file, a damaged or truncated compressed
            file, or whatever ``on_broken`` raises.
    """
    for number, line in read_lines_and_errors(path):
        if isinstance(line, DataError):
            on_broken(line)
        else:
            yield number, line


def read_lines_and_errors(path: Path) -> Iterator[tuple[int, str | DataError]]:
    """Like :func:`read_lines`, with an error in the place of a line that is not UTF-8."""
    for number, raw in read_raw_lines(path):
        try:
            line: str | DataError = _decode(raw, path, number)
        except DataError as error:
            line = error
        yield number, line


def read_raw_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines of ``path`` as they stand in it, line ends included, numbered from 1.

    Raises:
        DataError: all that :func:`read_lines` raises, but for what a line holds.
    """
    check_is_file(path)
    number = 0
    try:
        with _open(path) as stream:
            # Split at LF bytes alone: str.splitlines would also cut at U+2028 and others.
            for number, raw in enumerate(stream, start=1):
                yield number, raw
    except EOFError:
        raise DataError(
            path, f"the compressed file is truncated: it breaks off after line {number}"
        ) from None
    except (gzip.BadGzipFile, zlib.error, lzma.LZMAError) as error:
        kind = path.suffix.removeprefix(".")
        raise DataError(path, f"is damaged, or not a .{kind} file at all: {error}") from None
    except OSError as error:
        raise DataError(path, f"cannot be read: {error.strerror or error}") from None
    if number == 0:
        raise DataError(path, "is empty")


def content_of(raw: bytes, number: int) -> bytes:
    """A raw line without its line end, and without a byte-order mark if it is the first."""
    if number == 1:
        raw = raw.removeprefix(_BYTE_ORDER_MARK.encode())
    return raw.removesuffix(b"\n").removesuffix(b"\r")


def uncompressed_suffix(path: Path) -> str:
    """The ending that says the format: ``.jsonl`` for both ``a.jsonl`` and ``a.jsonl.gz``."""
    return Path(path.stem).suffix if path.suffix in COMPRESSIONS else path.suffix


def check_is_file(path: Path) -> None:
    """Raise a :class:`DataError` unless ``path`` is a file with something in it."""
    if path.is_dir():
        raise DataError(path, f"is a folder, not a file; it holds {_listing(path)}")
    if not path.exists():
        raise DataError(path, f"no such file; {_neighbours(path)}")
    if path.is_file() and path.stat().st_size == 0:
        raise DataError(path, "is empty")


def _open(path: Path) -> BufferedIOBase:
    compression = COMPRESSIONS.get(path.suffix)
    return compression(path, "rb") if compression else path.open("rb")


def _decode(raw: bytes, path: Path, number: int) -> str:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        byte = f"byte {error.start + 1} of the line is 0x{raw[error.start]:02x}"
        raise DataError(path, f"is not UTF-8 text: {byte}", number) from None
    if number == 1:
        text = text.removeprefix(_BYTE_ORDER_MARK)
    return text.removesuffix("\n").removesuffix("\r")


def _neighbours(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f"there is no folder '{folder}' either"
    names = [entry.name for entry in folder.iterdir() if entry.is_file()]
    close = difflib.get_close_matches(path.name, names, n=1, cutoff=0.5)
    if close:
        return f"did you mean '{close[0]}'?"
    return f"its folder holds {_listing(folder)}"


def _listing(folder: Path) -> str:
    names = sorted(entry.name for entry in folder.iterdir())
    shown = ", ".join(names[:_NAMES_SHOWN])
    more = len(names) - _NAMES_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown or "nothing"
