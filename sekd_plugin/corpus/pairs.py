"""Sentence pairs from a file of any of the formats."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sekd_plugin.corpus.broken_lines import OnBroken, refuse
from sekd_plugin.corpus.jsonl import read_jsonl
from sekd_plugin.corpus.parallel import read_parallel
from sekd_plugin.corpus.sentence_pair import SentencePair
from sekd_plugin.corpus.text_lines import check_is_file, uncompressed_suffix
from sekd_plugin.corpus.tsv import read_tsv
from sekd_plugin.errors import DataError, did_you_mean

FORMATS = {".jsonl": read_jsonl, ".tsv": read_tsv}
"""Formats that hold both languages in one file, by the file's ending below .gz or .xz."""


def read_pairs(
    path: Path,
    *,
    target_path: Path | None = None,
    source_field: str = "src",
    target_field: str = "tgt",
    on_broken: OnBroken = refuse,
) -> Iterator[SentencePair]:
    """The sentence pairs of ``path`` in order, one held at a time.

    Formats, each plain or compressed (``.gz``, ``.xz``), all UTF-8:

    - ``.jsonl``: an object a line, the texts in the fields of the given names;
    - ``.tsv``: two or more columns; ``src`` is column 1, ``tgt`` column 2, or give a number;
    - two text files of any other ending, line by line: ``path`` is ``src``, ``target_path`` is
      ``tgt``.

    Exchanging the two fields turns the direction of translation round. Texts come out as they
    stand in the file; an empty one is not an error. A line that cannot be used is handed to
    ``on_broken``, which raises, as it does by default, or has the line passed over.

    Raises:
        DataError: a file or line that cannot be used. The files' existence and format are
            checked at the call, lines as they are read.
    """
    if source_field == target_field:
        raise DataError(path, f"source and target are both read from the field '{source_field}'")
    check_is_file(path)
    suffix = uncompressed_suffix(path)
    if target_path is not None:
        check_is_file(target_path)
        for file in (path, target_path):
            if uncompressed_suffix(file) in FORMATS:
                problem = "holds both sides of its pairs, so it is not one of two parallel files"
                raise DataError(file, problem)
        return read_parallel(path, target_path, source_field, target_field, on_broken)
    if suffix not in FORMATS:
        raise DataError(
            path,
            f"the ending '{suffix}' is not a format of sentence pairs; "
            f"{did_you_mean(suffix, FORMATS)}, each also with .gz or .xz, "
            "or two parallel text files",
        )
    return FORMATS[suffix](path, source_field, target_field, on_broken)
