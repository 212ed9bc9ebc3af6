"""What a person is told about a data file that cannot be used."""

from __future__ import annotations

import gzip
import lzma
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from sekd_plugin.corpus import read_pairs
from sekd_plugin.errors import DataError

ROW = '{"src": "one", "tgt": "eins"}\n'


def message(path: Path, **options: object) -> str:
    with pytest.raises(DataError) as caught:
        list(read_pairs(path, **options))  # type: ignore[arg-type]
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith(str(path))
    return text.removeprefix(str(path))


def written(folder: Path, name: str, content: str | bytes = ROW) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_a_missing_file_names_the_nearest_one_there(tmp_path: Path) -> None:
    written(tmp_path, "train.jsonl")
    written(tmp_path, "other.txt")
    said = message(tmp_path / "trian.jsonl")
    assert said == ": no such file; did you mean 'train.jsonl'?"
    assert message(tmp_path / "zzz") == ": no such file; its folder holds other.txt, train.jsonl"
    said = message(tmp_path / "nowhere" / "train.jsonl")
    assert said == f": no such file; there is no folder '{tmp_path / 'nowhere'}' either"


def test_a_missing_file_is_told_at_the_call_and_not_at_the_first_pair(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_pairs(tmp_path / "a.jsonl")


def test_a_crowded_folder_is_not_listed_whole(tmp_path: Path) -> None:
    for number in range(12):
        written(tmp_path, f"{number:02d}.bin")
    assert message(tmp_path / "train.jsonl").endswith("06.bin, 07.bin and 4 more")


def test_a_folder_says_what_it_holds(tmp_path: Path) -> None:
    written(tmp_path, "train.jsonl")
    assert message(tmp_path) == ": is a folder, not a file; it holds train.jsonl"


@pytest.mark.parametrize("name", ["a.jsonl", "a.tsv", "a.jsonl.gz", "a.tsv.xz"])
def test_an_empty_file_is_called_empty(tmp_path: Path, name: str) -> None:
    assert message(written(tmp_path, name, b"")) == ": is empty"


@pytest.mark.parametrize(
    ("name", "pack"), [("a.tsv.gz", gzip.compress), ("a.tsv.xz", lzma.compress)]
)
def test_a_compressed_file_with_nothing_in_it_is_called_empty(
    tmp_path: Path, name: str, pack: Callable[[bytes], bytes]
) -> None:
    assert message(written(tmp_path, name, pack(b""))) == ": is empty"


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.xz"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.999])
def test_a_truncated_compressed_file_says_after_which_line(
    tmp_path: Path, name: str, share: float
) -> None:
    draw = random.Random(1)
    rows = "".join(f'{{"src": "{draw.random()}", "tgt": "x"}}\n' for _ in range(5000))
    pack = gzip.compress if name.endswith(".gz") else lzma.compress
    packed = pack(rows.encode())
    path = written(tmp_path, name, packed[: int(share * len(packed))])
    seen = 0
    with pytest.raises(DataError) as caught:
        for pair in read_pairs(path):
            seen = pair.line
    said = f": the compressed file is truncated: it breaks off after line {seen}"
    assert str(caught.value) == f"{path}{said}"
    assert seen < 5000


@pytest.mark.parametrize("ending", [".gz", ".xz"])
def test_a_file_that_only_claims_to_be_compressed(tmp_path: Path, ending: str) -> None:
    said = message(written(tmp_path, f"a.jsonl{ending}"))
    assert said.startswith(f": is damaged, or not a {ending} file at all: ")


@pytest.mark.parametrize(
    # The gzip checksum stands eight bytes before the end, the xz one before its index.
    ("name", "pack", "place"),
    [("a.tsv.gz", gzip.compress, -8), ("a.tsv.xz", lzma.compress, -40)],
)
def test_a_wrong_checksum_in_a_compressed_file_is_noticed(
    tmp_path: Path, name: str, pack: Callable[[bytes], bytes], place: int
) -> None:
    packed = bytearray(pack(b"one\teins\n" * 2000))
    packed[place] ^= 0xFF
    assert "damaged" in message(written(tmp_path, name, bytes(packed)))


@pytest.mark.parametrize("name", ["a.jsonl", "a.tsv"])
def test_text_that_is_not_utf8_names_line_and_byte(tmp_path: Path, name: str) -> None:
    good = ROW if name == "a.jsonl" else "one\teins\n"
    path = written(tmp_path, name, good.encode() * 2 + "für\tx".encode("latin-1"))
    assert message(path) == ", line 3: is not UTF-8 text: byte 2 of the line is 0xfc"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "{'src': 1}",
            "is not JSON: Expecting property name enclosed in double quotes at column 2",
        ),
        ('{"src": "a"', "is not JSON: Expecting ',' delimiter at column 12"),
        ('["a", "b"]', 'is a list, not a JSON object such as {"src": …, "tgt": …}'),
        ("7", 'is a number, not a JSON object such as {"src": …, "tgt": …}'),
        (
            '{"src": "a", "target": "b", "id": 1}',
            "has no field 'tgt'; did you mean 'target'? known: id, src, target",
        ),
        ("{}", "has no field 'src'; known: none"),
        ('{"src": "a", "tgt": 3.5}', "field 'tgt' is a number, not a text"),
        ('{"src": null, "tgt": "b"}', "field 'src' is null, not a text"),
        ('{"src": "a", "tgt": ["b"]}', "field 'tgt' is a list, not a text"),
        ('{"src": "a", "tgt": true}', "field 'tgt' is true or false, not a text"),
        ('{"src": "\\ud83d", "tgt": "b"}', "field 'src' holds half of a surrogate pair"),
    ],
)
def test_a_bad_json_line_is_named_with_its_number(tmp_path: Path, line: str, said: str) -> None:
    assert message(written(tmp_path, "a.jsonl", f"{ROW}{line}\n{ROW}")) == f", line 2: {said}"


@pytest.mark.parametrize("line", ["[" * 100_000, '{"src": ' + "9" * 5000 + "}"])
def test_json_that_no_parser_takes_is_one_line_too(tmp_path: Path, line: str) -> None:
    said = message(written(tmp_path, "a.jsonl", ROW + line))
    assert said.startswith(", line 2: is not JSON")
    assert len(said) < 300


def test_an_escaped_character_outside_the_basic_plane_is_no_error(tmp_path: Path) -> None:
    path = written(tmp_path, "a.jsonl", '{"src": "\\ud83d\\ude00", "tgt": "b"}')
    assert next(read_pairs(path)).source == "\U0001f600"


def test_a_tsv_line_with_too_few_columns(tmp_path: Path) -> None:
    path = written(tmp_path, "a.tsv", "a\tb\nc d\n")
    assert message(path) == ", line 2: has 1 column, 2 are needed (separated by tabs)"
    said = message(path, source_field="3")
    assert said == ", line 1: has 2 columns, 3 are needed (separated by tabs)"


@pytest.mark.parametrize("field", ["source", "0", "-1", "²"])
def test_a_field_that_is_no_tsv_column(tmp_path: Path, field: str) -> None:
    said = message(written(tmp_path, "a.tsv", "a\tb\n"), source_field=field)
    assert said.startswith(f": '{field}' is not a column of a .tsv file; known: src (column 1)")


@pytest.mark.parametrize(("left", "right"), [(3, 5), (5, 3)])
def test_parallel_files_of_different_length_tell_both_counts(
    tmp_path: Path, left: int, right: int
) -> None:
    path = written(tmp_path, "a.en", "x\n" * left)
    other = written(tmp_path, "a.de", "y\n" * right)
    assert message(path, target_path=other) == (
        f", line 4: parallel files must have equally many lines, but this has {left} "
        f"and {other} has {right}"
    )


def test_parallel_files_have_no_other_fields(tmp_path: Path) -> None:
    path, other = written(tmp_path, "a.en", "x"), written(tmp_path, "a.de", "y")
    said = message(path, target_path=other, source_field="tgt2", target_field="src")
    assert said == (
        ": two parallel files have no field 'tgt2'; did you mean 'tgt'? known: src, tgt"
    )


def test_a_file_of_pairs_is_not_half_of_two_parallel_files(tmp_path: Path) -> None:
    path, other = written(tmp_path, "a.jsonl"), written(tmp_path, "a.de", "y")
    assert "holds both sides of its pairs" in message(path, target_path=other)


@pytest.mark.parametrize("name", ["a.json", "a.txt.gz", "a"])
def test_an_unknown_ending_lists_the_known_ones(tmp_path: Path, name: str) -> None:
    said = message(written(tmp_path, name, gzip.compress(b"x")))
    assert "known: .jsonl, .tsv, each also with .gz or .xz, or two parallel text files" in said


def test_the_ending_json_is_taken_for_a_slip_of_jsonl(tmp_path: Path) -> None:
    assert "did you mean '.jsonl'?" in message(written(tmp_path, "a.json"))


def test_one_field_cannot_be_both_sides(tmp_path: Path) -> None:
    said = message(written(tmp_path, "a.jsonl"), target_field="src")
    assert said == ": source and target are both read from the field 'src'"
