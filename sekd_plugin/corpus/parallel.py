"""Sentence pairs in two plain-text files: line n of one translates line n of the other."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

from sekd_plugin.corpus.broken_lines import OnBroken, refuse
from sekd_plugin.corpus.sentence_pair import SentencePair
from sekd_plugin.corpus.text_lines import read_lines_and_errors
from sekd_plugin.errors import DataError, did_you_mean

SIDES = ("src", "tgt")


def read_parallel(
    path: Path,
    target_path: Path,
    source_field: str,
    target_field: str,
    on_broken: OnBroken = refuse,
) -> Iterator[SentencePair]:
    """The pairs of two files; the field ``src`` is ``path``'s lines, ``tgt`` ``target_path``'s.

    A pair of lines is broken if either is not UTF-8.

    Raises:
        DataError: another field, files that differ in their number of lines, or whatever
            ``on_broken`` raises.
    """
    for field in (source_field, target_field):
        if field not in SIDES:
            problem = f"two parallel files have no field '{field}'; {did_you_mean(field, SIDES)}"
            raise DataError(path, problem)
    swapped = source_field == "tgt"
    count = other_count = 0
    lines = zip_longest(read_lines_and_errors(path), read_lines_and_errors(target_path))
    for left, right in lines:
        count += left is not None
        other_count += right is not None
        if left is None or right is None:
            continue
        number, text = left
        other_text = right[1]
        if isinstance(text, DataError):
            on_broken(text)
        elif isinstance(other_text, DataError):
            on_broken(other_text)
        else:
            source, target = (other_text, text) if swapped else (text, other_text)
            yield SentencePair(source, target, path, number)
    if count != other_count:
        raise DataError(
            path,
            f"parallel files must have equally many lines, but this has {count} "
            f"and {target_path} has {other_count}",
            min(count, other_count) + 1,
        )
