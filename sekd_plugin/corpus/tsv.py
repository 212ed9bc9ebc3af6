"""Sentence pairs in tab-separated columns."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sekd_plugin.corpus.broken_lines import OnBroken, refuse
from sekd_plugin.corpus.sentence_pair import SentencePair
from sekd_plugin.corpus.text_lines import read_lines
from sekd_plugin.errors import DataError

NAMED_COLUMNS = {"src": 1, "tgt": 2}


def read_tsv(
    path: Path, source_field: str, target_field: str, on_broken: OnBroken = refuse
) -> Iterator[SentencePair]:
    """The pairs of ``path``: a field is ``src`` (column 1), ``tgt`` (2) or a number from 1.

    There is no header line, and quotation marks and backslashes are ordinary characters. A line
    with too few columns is broken.

    Raises:
        DataError: a field that is no column, or whatever ``on_broken`` raises.
    """
    source_column = _column(source_field, path)
    target_column = _column(target_field, path)
    needed = max(2, source_column, target_column)
    for number, line in read_lines(path, on_broken):
        columns = line.split("\t")
        if len(columns) < needed:
            has = f"{len(columns)} column{'s' * (len(columns) != 1)}"
            problem = f"has {has}, {needed} are needed (separated by tabs)"
            on_broken(DataError(path, problem, number))
            continue
        yield SentencePair(columns[source_column - 1], columns[target_column - 1], path, number)


def _column(field: str, path: Path) -> int:
    if field in NAMED_COLUMNS:
        return NAMED_COLUMNS[field]
    if field.isascii() and field.isdigit() and int(field) >= 1:
        return int(field)
    raise DataError(
        path,
        f"'{field}' is not a column of a .tsv file; known: src (column 1), tgt (column 2), "
        "or a column's number from 1",
    )
