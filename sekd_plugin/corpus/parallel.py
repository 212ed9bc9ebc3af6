"""Sentence pairs in two plain-text files: line n of one translates line n of the other."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

from sekd_plugin.corpus.sentence_pair import SentencePair
from sekd_plugin.corpus.text_lines import read_lines
from sekd_plugin.errors import DataError, did_you_mean

SIDES = ("src", "tgt")


def read_parallel(
    path: Path, target_path: Path, source_field: str, target_field: str
) -> Iterator[SentencePair]:
    """The pairs of two files; the field ``src`` is ``path``'s lines, ``tgt`` ``target_path``'s.

    Raises:
        DataError: another field, or files that differ in their number of lines.
    """
    for field in (source_field, target_field):
        if field not in SIDES:
            problem = f"two parallel files have no field '{field}'; {did_you_mean(field, SIDES)}"
            raise DataError(path, problem)
    swapped = source_field == "tgt"
    count = other_count = 0
    for left, right in zip_longest(read_lines(path), read_lines(target_path)):
        count += left is not None
        other_count += right is not None
        if left is None or right is None:
            continue
        number = left[0]
        source, target = (right[1], left[1]) if swapped else (left[1], right[1])
        yield SentencePair(source, target, path, number)
    if count != other_count:
        raise DataError(
            path,
            f"parallel files must have equally many lines, but this has {count} "
            f"and {target_path} has {other_count}",
            min(count, other_count) + 1,
        )
