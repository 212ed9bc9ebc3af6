"""Sentence pairs in JSON Lines: one object a line, the two texts in named fields."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from sekd_plugin.corpus.broken_lines import OnBroken, refuse
from sekd_plugin.corpus.sentence_pair import SentencePair
from sekd_plugin.corpus.text_lines import read_lines
from sekd_plugin.errors import DataError, did_you_mean


def read_jsonl(
    path: Path, source_field: str, target_field: str, on_broken: OnBroken = refuse
) -> Iterator[SentencePair]:
    """The pairs of ``path``; blank lines hold no pair and are passed over.

    A line is broken that is not a JSON object, lacks a field, or holds no text in it.

    Raises:
        DataError: whatever ``on_broken`` raises, and what :func:`read_lines` does.
    """
    for number, line in read_lines(path, on_broken):
        if not line.strip():
            continue
        try:
            row = _parse(line, path, number)
            source = _text(row, source_field, line, path, number)
            target = _text(row, target_field, line, path, number)
        except DataError as error:
            on_broken(error)
            continue
        yield SentencePair(source, target, path, number)


def _parse(line: str, path: Path, number: int) -> dict[str, object]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        problem = f"is not JSON: {error.msg.removesuffix(' at')} at column {error.colno}"
        raise DataError(path, problem, number) from None
    except (ValueError, RecursionError) as error:
        raise DataError(path, f"is not JSON that can be read: {error}", number) from None
    if not isinstance(row, dict):
        problem = f'is {_kind(row)}, not a JSON object such as {{"src": …, "tgt": …}}'
        raise DataError(path, problem, number)
    return row


def _text(row: dict[str, object], field: str, line: str, path: Path, number: int) -> str:
    if field not in row:
        raise DataError(path, f"has no field '{field}'; {did_you_mean(field, row)}", number)
    value = row[field]
    if not isinstance(value, str):
        raise DataError(path, f"field '{field}' is {_kind(value)}, not a text", number)
    # Only an escape can smuggle half a character in, and looking for one is cheap.
    if "\\u" in line and any("\ud800" <= character <= "\udfff" for character in value):
        raise DataError(path, f"field '{field}' holds half of a surrogate pair", number)
    return value


_KINDS: dict[type, str] = {
    type(None): "null",
    bool: "true or false",
    int: "a number",
    float: "a number",
    str: "a text",
    list: "a list",
    dict: "an object",
}


def _kind(value: object) -> str:
    return _KINDS[type(value)]
