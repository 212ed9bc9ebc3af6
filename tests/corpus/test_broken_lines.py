"""Broken lines are refused unless a share of them is allowed; then each is written down."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sekd_plugin.cli import main
from sekd_plugin.corpus import read_pairs
from sekd_plugin.corpus.preparation import CorpusFiles, PairFiles, prepare_corpus
from sekd_plugin.corpus.settings import PreparationSettings
from sekd_plugin.errors import DataError, SekdError

BROKEN = {
    7: b"not json\n",
    40: b'{"src": "the house 40"}\n',
    41: b'{"src": "the house 41", "tgt": "f\xfcr"}\n',
    90: b'{"src": "the house 90", "tgt": null}\n',
}
SMALL = {"vocabulary_size": 300, "valid_size": 10, "test_size": 10}


def written(folder: Path, name: str = "pairs.jsonl", count: int = 200) -> Path:
    path = folder / name
    with path.open("wb") as out:
        for number in range(1, count + 1):
            row = {"src": f"the house {number} is red", "tgt": f"das haus {number} ist rot"}
            out.write(BROKEN.get(number, json.dumps(row).encode() + b"\n"))
    return path


def settings(share: float) -> PreparationSettings:
    return PreparationSettings(max_broken_share=share, **SMALL)  # type: ignore[arg-type]


def files(path: Path) -> CorpusFiles:
    return CorpusFiles(train=[PairFiles(path)])


def test_every_broken_line_is_left_out_and_written_down(tmp_path: Path) -> None:
    report, _ = prepare_corpus(tmp_path / "out", files(written(tmp_path)), settings(0.02))

    rows = [json.loads(line) for line in (tmp_path / "out/broken_lines.jsonl").open()]
    assert [(row["split"], row["file"], row["line"]) for row in rows] == [
        ("train", "pairs.jsonl", number) for number in BROKEN
    ]
    problems = [row["problem"] for row in rows]
    assert problems[0].startswith("is not JSON: ")
    assert problems[1].startswith("has no field 'tgt'; ")
    assert problems[2].startswith("is not UTF-8 text: byte ")
    assert problems[3] == "field 'tgt' is null, not a text"
    assert report.broken == {
        "train": {
            "is not JSON": {"lines": 1, "first": ["pairs.jsonl, line 7"]},
            "has no field 'tgt'": {"lines": 1, "first": ["pairs.jsonl, line 40"]},
            "is not UTF-8 text": {"lines": 1, "first": ["pairs.jsonl, line 41"]},
            "field 'tgt' is null, not a text": {"lines": 1, "first": ["pairs.jsonl, line 90"]},
        }
    }
    assert report.read["train"] == 196
    kept = [
        pair.source
        for split in ("train", "valid", "test")
        for pair in read_pairs(tmp_path / "out" / f"{split}.jsonl")
    ]
    assert sorted(kept) == sorted(
        f"the house {number} is red" for number in range(1, 201) if number not in BROKEN
    )
    table = report.table().splitlines()
    assert [line.split()[-1] for line in table if "is not JSON" in line] == ["1"]


def test_exactly_the_allowed_number_may_be_broken(tmp_path: Path) -> None:
    path = written(tmp_path)
    prepare_corpus(tmp_path / "four", files(path), settings(4 / 200))
    with pytest.raises(SekdError) as caught:
        prepare_corpus(tmp_path / "three", files(path), settings(3.9 / 200))
    said = str(caught.value)
    assert said.startswith(f"{path}: more lines are broken than max_broken_share allows")
    assert "which is 3 of the 200 of train; met by line 90: 1 is not JSON (first: " in said
    assert "\n" not in said
    assert not (tmp_path / "three").exists() and not (tmp_path / "three.partial").exists()


def test_without_an_allowance_the_first_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="line 7: is not JSON"):
        prepare_corpus(tmp_path / "out", files(written(tmp_path)), settings(0.0))
    assert [path.name for path in tmp_path.iterdir()] == ["pairs.jsonl"]


def test_each_split_has_an_allowance_of_its_own(tmp_path: Path) -> None:
    clean = tmp_path / "clean.jsonl"
    clean.write_text('{"src": "a small tree", "tgt": "ein kleiner baum"}\n' * 200)
    broken = CorpusFiles(train=[PairFiles(written(tmp_path))], valid=PairFiles(clean))
    prepare_corpus(tmp_path / "out", broken, settings(0.02))
    bad_valid = CorpusFiles(train=[PairFiles(clean)], valid=PairFiles(written(tmp_path)))
    with pytest.raises(SekdError, match="which is 2 of the 200 of valid"):
        prepare_corpus(tmp_path / "other", bad_valid, settings(0.01))


def test_a_clean_corpus_has_no_list_of_broken_lines(tmp_path: Path) -> None:
    clean = tmp_path / "clean.jsonl"
    clean.write_bytes(
        b"".join(
            line for line in written(tmp_path).open("rb") if b"house" in line and b"rot" in line
        )
    )
    report, _ = prepare_corpus(tmp_path / "out", files(clean), settings(0.5))
    assert report.broken == {}
    assert not (tmp_path / "out/broken_lines.jsonl").exists()
    assert "broken" not in report.table()


def test_a_line_of_two_parallel_files_goes_with_its_partner(tmp_path: Path) -> None:
    left, right = tmp_path / "a.en", tmp_path / "a.de"
    left.write_bytes(b"one\ntw\xff\nthree\nfour\n")
    right.write_bytes(b"eins\nzwei\ndr\xffei\nvier\n")
    broken: list[DataError] = []
    pairs = list(read_pairs(left, target_path=right, on_broken=broken.append))
    assert [(pair.source, pair.target, pair.line) for pair in pairs] == [
        ("one", "eins", 1),
        ("four", "vier", 4),
    ]
    assert [(error.file, error.line) for error in broken] == [(left, 2), (right, 3)]


def test_a_tsv_line_with_too_few_columns_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("a\tb\nc\nd\te\n")
    broken: list[DataError] = []
    assert [pair.source for pair in read_pairs(path, on_broken=broken.append)] == ["a", "d"]
    assert [error.line for error in broken] == [2]


def test_the_command_takes_the_share(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["prepare", str(tmp_path / "out"), "--train", str(written(tmp_path))]
    command += ["--vocabulary-size", "300", "--valid-size", "10", "--test-size", "10"]
    assert main([*command, "--max-broken-share", "1.5"]) == 2
    assert "--max-broken-share: 1.5 is out of range" in capsys.readouterr().err
    assert main([*command, "--max-broken-share", "0.02"]) == 0
    assert "has no field 'tgt'" in capsys.readouterr().out


def test_a_result_made_before_there_was_the_setting_is_known_again(tmp_path: Path) -> None:
    clean = tmp_path / "clean.jsonl"
    rows = (f'{{"src": "the house {n}", "tgt": "das haus {n}"}}\n' for n in range(300))
    clean.write_text("".join(rows))
    prepare_corpus(tmp_path / "out", files(clean), settings(0.0))
    report = tmp_path / "out/report.json"
    record = json.loads(report.read_text())
    assert "max_broken_share" not in record["made_from"]["settings"]
    del record["broken"]
    report.write_text(json.dumps(record))
    assert prepare_corpus(tmp_path / "out", files(clean), settings(0.0))[1] is False
