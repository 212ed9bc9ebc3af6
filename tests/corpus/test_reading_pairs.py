"""Every format gives back the pairs that an independent writer put into it."""

from __future__ import annotations

import gzip
import json
import lzma
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sekd_plugin.corpus import SentencePair, read_pairs

Texts = Sequence[tuple[str, str]]

# A plain-text line or column can hold any character but those that end it.
PLAIN = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\r\t\ufeff"))
ANYTHING = st.text(st.characters(exclude_categories=["Cs"]))
COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".xz": lzma.compress,
}
ENDINGS = pytest.mark.parametrize("compression", COMPRESSIONS)
IN_ONE_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def write(path: Path, text: str) -> Path:
    path.write_bytes(
        COMPRESSIONS[path.suffix if path.suffix in COMPRESSIONS else ""](text.encode())
    )
    return path


def texts(pairs: Sequence[SentencePair]) -> list[tuple[str, str]]:
    return [(pair.source, pair.target) for pair in pairs]


def swapped(pairs: Texts) -> list[tuple[str, str]]:
    return [(target, source) for source, target in pairs]


@ENDINGS
@IN_ONE_FOLDER
@given(
    pairs=st.lists(st.tuples(ANYTHING, ANYTHING), min_size=1),
    ascii_only=st.booleans(),
    line_end=st.sampled_from(["\n", "\r\n"]),
)
def test_jsonl_gives_back_any_text(
    tmp_path: Path, compression: str, pairs: Texts, ascii_only: bool, line_end: str
) -> None:
    lines = [json.dumps({"src": s, "tgt": t}, ensure_ascii=ascii_only) for s, t in pairs]
    file = write(tmp_path / f"a.jsonl{compression}", line_end.join(lines))
    read = list(read_pairs(file))
    assert texts(read) == list(pairs)
    assert [(pair.file, pair.line) for pair in read] == [(file, i + 1) for i in range(len(pairs))]
    other_way = read_pairs(file, source_field="tgt", target_field="src")
    assert texts(list(other_way)) == swapped(pairs)


@ENDINGS
@IN_ONE_FOLDER
@given(pairs=st.lists(st.tuples(PLAIN, PLAIN), min_size=1), more=st.lists(PLAIN, max_size=2))
def test_tsv_gives_back_any_text_without_tab_or_line_end(
    tmp_path: Path, compression: str, pairs: Texts, more: list[str]
) -> None:
    rows = "".join("\t".join([*pair, *more]) + "\n" for pair in pairs)
    file = write(tmp_path / f"a.tsv{compression}", rows)
    assert texts(list(read_pairs(file))) == list(pairs)
    other_way = read_pairs(file, source_field="tgt", target_field="src")
    assert texts(list(other_way)) == swapped(pairs)
    assert texts(list(read_pairs(file, source_field="2", target_field="1"))) == swapped(pairs)
    if more:
        third = read_pairs(file, source_field="3", target_field="src")
        assert texts(list(third)) == [(more[0], source) for source, _ in pairs]


@ENDINGS
@IN_ONE_FOLDER
@given(pairs=st.lists(st.tuples(PLAIN, PLAIN), min_size=1), last_line_end=st.booleans())
def test_parallel_files_give_back_any_text_without_line_end(
    tmp_path: Path, compression: str, pairs: Texts, last_line_end: bool
) -> None:
    # Without a last line end an empty last line would not be there at all.
    end = "\n" if last_line_end or not all(pairs[-1]) else ""
    left = write(tmp_path / f"a.en{compression}", "\n".join(s for s, _ in pairs) + end)
    right = write(tmp_path / "a.de", "\n".join(t for _, t in pairs) + end)
    read = list(read_pairs(left, target_path=right))
    assert texts(read) == list(pairs)
    assert [(pair.file, pair.line) for pair in read] == [(left, i + 1) for i in range(len(pairs))]
    other_way = read_pairs(left, target_path=right, source_field="tgt", target_field="src")
    assert texts(list(other_way)) == swapped(pairs)


def test_fields_of_other_names_are_read(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", '{"en": "one", "de": "eins", "id": 7}\n')
    pairs = list(read_pairs(file, source_field="de", target_field="en"))
    assert pairs == [SentencePair("eins", "one", file, 1)]


def test_line_ends_of_windows_are_no_part_of_the_text(tmp_path: Path) -> None:
    table = write(tmp_path / "a.tsv", "one\teins\r\ntwo\tzwei\r\n")
    left, right = write(tmp_path / "a.en", "one\r\ntwo"), write(tmp_path / "a.de", "eins\nzwei\r\n")
    expected = [("one", "eins"), ("two", "zwei")]
    assert texts(list(read_pairs(table))) == expected
    assert texts(list(read_pairs(left, target_path=right))) == expected


def test_a_byte_order_mark_and_blank_json_lines_are_passed_over(tmp_path: Path) -> None:
    row = '{"src": "one", "tgt": "eins"}\n'
    assert next(read_pairs(write(tmp_path / "a.tsv", "\ufeffone\teins"))).source == "one"
    file = write(tmp_path / "a.jsonl", f"\ufeff{row}\n  \n{row}\n")
    assert [pair.line for pair in read_pairs(file)] == [1, 4]


def test_a_long_file_is_never_held_in_memory(tmp_path: Path) -> None:
    row = json.dumps({"src": "word " * 100, "tgt": "Wort " * 100}) + "\n"
    file = write(tmp_path / "long.jsonl.gz", row * 20_000)
    tracemalloc.start()
    count = sum(1 for _ in read_pairs(file))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 20_000
    assert len(row) * count > 20e6
    assert peak < 1e6
