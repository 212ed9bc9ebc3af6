"""``sekd prepare`` from input files to a finished folder."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import pytest
import sentencepiece

from sekd_plugin.cli import main
from sekd_plugin.corpus import read_pairs
from sekd_plugin.corpus.preparation import CorpusFiles, PairFiles, prepare_corpus
from sekd_plugin.corpus.settings import PreparationSettings

T = TypeVar("T")

FILES = {
    "report.json",
    "test.jsonl",
    "train.jsonl",
    "valid.jsonl",
    "vocabulary.model",
    "vocabulary.vocab",
}
WORDS = [
    "the",
    "a",
    "red",
    "blue",
    "house",
    "tree",
    "runs",
    "sleeps",
    "quickly",
    "and",
    "dog",
    "cat",
    "under",
    "over",
    "near",
    "old",
    "new",
]
SMALL = ("--vocabulary-size", "300", "--valid-size", "20", "--test-size", "30")

Prepare = Callable[..., tuple[int, str, str]]
Pairs = Sequence[tuple[str, str]]


@pytest.fixture
def prepare(capfd: pytest.CaptureFixture[str]) -> Prepare:
    """Runs ``sekd prepare``; returns the exit code and what it wrote to stdout and stderr.

    It is the file descriptors that are watched, since SentencePiece writes past Python.
    """

    def run(*arguments: object) -> tuple[int, str, str]:
        capfd.readouterr()
        code = main(["prepare", *map(str, arguments)])
        return (code, *capfd.readouterr())

    return run


def sentences(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """Distinct pairs whose target is the source reversed, after a number."""
    draw = random.Random(seed)
    pairs = []
    for number in range(count):
        words = draw.choices(WORDS, k=draw.randint(3, 9))
        pairs.append((" ".join([*words, str(number)]), " ".join([str(number), *words[::-1]])))
    return pairs


def write(path: Path, pairs: Pairs) -> Path:
    rows = (json.dumps({"src": s, "tgt": t}, ensure_ascii=False) + "\n" for s, t in pairs)
    path.write_text("".join(rows), encoding="utf-8")
    return path


def read(path: Path) -> list[tuple[str, str]]:
    return [(pair.source, pair.target) for pair in read_pairs(path)]


def report_of(folder: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    return report


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_corpus_is_divided_without_loss(tmp_path: Path, prepare: Prepare) -> None:
    pairs = sentences(400)
    code, said, _ = prepare(tmp_path / "out", "--train", write(tmp_path / "a.jsonl", pairs), *SMALL)
    assert code == 0
    out = tmp_path / "out"
    assert set(contents(out)) == FILES
    assert {path.name for path in tmp_path.iterdir()} == {"a.jsonl", "out"}
    splits = {name: read(out / f"{name}.jsonl") for name in ("train", "valid", "test")}
    assert {name: len(rows) for name, rows in splits.items()} == {
        "train": 350,
        "valid": 20,
        "test": 30,
    }
    assert sorted(chain.from_iterable(splits.values())) == sorted(pairs)
    report = report_of(out)
    assert report["read"] == {"train": 400, "valid": 0, "test": 0}
    assert report["kept"] == {"train": 350, "valid": 20, "test": 30}
    assert report["dropped"] == {}
    for name in FILES - {"report.json"}:
        data = (out / name).read_bytes()
        assert report["files"][name] == {
            "bytes": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
        }
    assert "kept" in said and "350" in said and "vocabulary: 300 pieces, unigram" in said


def test_the_vocabulary_has_its_special_pieces_and_loses_nothing(
    tmp_path: Path, prepare: Prepare
) -> None:
    template = "Übersetze „ins‘ Łódź: {source}\n"
    code, _, _ = prepare(
        *(tmp_path / "out", "--train", write(tmp_path / "a.jsonl", sentences(400)), *SMALL),
        *("--template", template, "--vocabulary-size", 400),
    )
    assert code == 0
    pieces = sentencepiece.SentencePieceProcessor(
        model_file=str(tmp_path / "out" / "vocabulary.model")
    )
    assert pieces.get_piece_size() == 400
    ids = (pieces.unk_id(), pieces.bos_id(), pieces.eos_id(), pieces.pad_id())
    assert ids == (0, 1, 2, 3)
    assert [pieces.id_to_piece(index) for index in range(4)] == ["<unk>", "<s>", "</s>", "<pad>"]
    prompt = template.format(source="the old house")
    assert pieces.decode(pieces.encode(prompt)) == prompt
    assert not any(pieces.is_byte(index) for index in pieces.encode(prompt))
    assert pieces.encode(prompt)[-1] == pieces.piece_to_id("\n")
    for text in ("日本語 \U0001f600", "½ ﬁ ²  …", "<s> </s> <pad>"):
        encoded = pieces.encode(text)
        assert 0 not in encoded
        assert pieces.decode(encoded) == " ".join(text.split())
    listed = (tmp_path / "out" / "vocabulary.vocab").read_text(encoding="utf-8").splitlines()
    assert len(listed) == 400
    assert [line.split("\t")[0] for line in listed[:5]] == ["<unk>", "<s>", "</s>", "<pad>", "\\n"]


def test_the_words_of_the_prompt_are_whole_pieces(tmp_path: Path, prepare: Prepare) -> None:
    code, _, _ = prepare(
        *(tmp_path / "out", "--train", write(tmp_path / "a.jsonl", sentences(400)), *SMALL),
        *("--template", "Englisch: {source}\nDeutsch:", "--vocabulary-size", 400),
        *("--model-type", "bpe"),
    )
    assert code == 0
    model = sentencepiece.SentencePieceProcessor(
        model_file=str(tmp_path / "out" / "vocabulary.model")
    )
    assert model.encode("Englisch:", out_type=str) == ["▁Englisch", ":"]
    assert model.encode("Deutsch:", out_type=str) == ["▁Deutsch", ":"]


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
def test_a_vocabulary_too_large_tells_the_largest_that_works(
    tmp_path: Path, prepare: Prepare, model_type: str
) -> None:
    file = write(tmp_path / "a.jsonl", sentences(100))
    options = (*SMALL, "--model-type", model_type)
    code, said, err = prepare(
        tmp_path / "out", "--train", file, *options, "--vocabulary-size", 50000
    )
    assert (code, said) == (2, "")
    *progress, line = err.splitlines()
    start = "sekd prepare: --vocabulary-size: 50000 is too large for this text; "
    assert line.startswith(start + "the largest possible is ")
    assert not any("sentencepiece" in text.lower() or "trainer" in text for text in progress)
    assert {path.name for path in tmp_path.iterdir()} == {"a.jsonl"}
    largest = line.rpartition(" ")[2]
    assert prepare(tmp_path / "b", "--train", file, *options, "--vocabulary-size", largest)[0] == 0


def test_a_vocabulary_too_small_tells_the_smallest(tmp_path: Path, prepare: Prepare) -> None:
    file = write(tmp_path / "a.jsonl", sentences(100))
    code, _, err = prepare(tmp_path / "out", "--train", file, *SMALL, "--vocabulary-size", 40)
    line = err.splitlines()[-1]
    assert code == 2
    assert "--vocabulary-size: 40 is too small: the characters and bytes alone need 2" in line
    assert not (tmp_path / "out").exists()


def test_each_unfit_pair_is_counted_under_its_reason_with_its_place(
    tmp_path: Path, prepare: Prepare
) -> None:
    good = sentences(100)
    unfit = {
        "empty side": [("x y", "  "), ("\u00a0", "y"), ("x y", "  ")],
        "too short": [("word", "zwei Wörter")],
        "too long": [("w " * 21, "x " * 19)],
        "lengths too different": [("a b", "c" * 30 + " d")],
        "source equals target": [("Same  Text", "same text")],
        "source is in test": [("UNDER  the test", "xx xxxxx"), ("under the Test ", "y yyyyyy")],
        "source is in valid": [("\tvalid under test", "xx xxxxx")],
        "duplicate pair": [good[0], good[1], (good[2][0].replace(" ", "  "), good[2][1])],
    }
    bad = [pair for pairs in unfit.values() for pair in pairs]
    train = write(tmp_path / "train.jsonl", [*good, *bad])
    valid = write(tmp_path / "valid.jsonl", [("Valid under TEST", "v"), ("Under THE test", "w")])
    test = write(tmp_path / "test.jsonl", [("Under the test", "t"), ("", "u")])
    code, said, _ = prepare(
        *(tmp_path / "out", "--train", train, "--valid", valid, "--test", test),
        *("--min-words", 2, "--max-words", 20, "--max-ratio", 3, "--drop-copies"),
        *("--vocabulary-size", 300),
    )
    assert code == 0
    assert read(tmp_path / "out" / "train.jsonl") == good
    assert read(tmp_path / "out" / "valid.jsonl") == [("Valid under TEST", "v")]
    assert read(tmp_path / "out" / "test.jsonl") == [("Under the test", "t")]
    report = report_of(tmp_path / "out")
    line = len(good)
    for reason, pairs in unfit.items():
        places = [f"train.jsonl, line {line + 1 + index}" for index in range(len(pairs))]
        assert report["dropped"]["train"][reason] == {"pairs": len(pairs), "first": places}
        assert reason in said
        line += len(pairs)
    assert report["dropped"]["test"] == {
        "empty side": {"pairs": 1, "first": ["test.jsonl, line 2"]}
    }
    assert report["dropped"]["valid"]["source is in test"]["pairs"] == 1
    assert report["read"] == {"train": line, "valid": 2, "test": 2}


def test_no_held_out_source_is_trained_on_in_any_case_or_spacing(
    tmp_path: Path, prepare: Prepare
) -> None:
    draw = random.Random(5)
    changes: list[Callable[[str], str]] = [
        str.upper,
        str.title,
        lambda text: f"  {text}",
        lambda text: text.replace(" ", "\t "),
    ]
    pairs = []
    for source, target in sentences(300):
        pairs.append((source, target))
        pairs += [
            (draw.choice(changes)(source), f"{target} {k}") for k in range(draw.randint(0, 3))
        ]
    draw.shuffle(pairs)
    file = write(tmp_path / "a.jsonl", pairs)
    size = ("--vocabulary-size", 350)
    assert prepare(tmp_path / "out", "--train", file, *SMALL, *size)[0] == 0

    def plain(text: str) -> str:
        return "".join(text.split()).lower()

    out = tmp_path / "out"
    train, valid, test = (
        {plain(source) for source, _ in read(out / f"{split}.jsonl")}
        for split in ("train", "valid", "test")
    )
    assert (len(valid), len(test)) == (20, 30)
    assert not train & valid and not train & test and not valid & test
    assert train | valid | test == {plain(source) for source, _ in pairs}
    report = report_of(out)
    dropped = sum(entry["pairs"] for entry in report["dropped"]["train"].values())
    assert sum(report["kept"].values()) + dropped == len(pairs)


def test_what_is_held_out_beside_a_given_test_set_is_not_in_it(
    tmp_path: Path, prepare: Prepare
) -> None:
    pairs = sentences(150)
    file = write(tmp_path / "a.jsonl", pairs)
    test = write(tmp_path / "t.jsonl", [(source.upper(), target) for source, target in pairs[:75]])
    options = ("--train", file, "--test", test, "--valid-size", 40, "--vocabulary-size", 300)
    assert prepare(tmp_path / "out", *options)[0] == 0
    valid, train = read(tmp_path / "out" / "valid.jsonl"), read(tmp_path / "out" / "train.jsonl")
    assert (len(valid), len(train)) == (40, 35)
    assert sorted(valid + train) == sorted(pairs[75:])


def test_swapping_holds_out_by_the_other_language(tmp_path: Path, prepare: Prepare) -> None:
    file = write(tmp_path / "a.jsonl", sentences(300))
    test = write(tmp_path / "t.jsonl", [("never seen", "1 HOUSE old"), ("another", "2 tree")])
    pair = ("seen only here", "1 house OLD")
    file.write_text(file.read_text() + json.dumps(dict(zip(("src", "tgt"), pair, strict=True))))
    options = ("--train", file, "--test", test, *SMALL)
    assert prepare(tmp_path / "out", *options, "--swap")[0] == 0
    assert read(tmp_path / "out" / "test.jsonl")[0] == ("1 HOUSE old", "never seen")
    train = read(tmp_path / "out" / "train.jsonl")
    assert all(source.split()[0].isdigit() for source, _ in train)
    assert "1 house OLD" not in [source for source, _ in train]
    fields = ("--source-field", "tgt", "--target-field", "src")
    assert prepare(tmp_path / "same", *options, *fields)[0] == 0
    assert contents(tmp_path / "same") == contents(tmp_path / "out")


def test_the_same_seed_gives_the_same_bytes_and_another_seed_another_split(
    tmp_path: Path, prepare: Prepare
) -> None:
    file = write(tmp_path / "a.jsonl", sentences(300))
    (tmp_path / "moved").mkdir()
    moved = write(tmp_path / "moved" / "b.jsonl", sentences(300))
    assert prepare(tmp_path / "one", "--train", file, *SMALL)[0] == 0
    assert prepare(tmp_path / "two", "--train", moved, *SMALL)[0] == 0
    assert prepare(tmp_path / "three", "--train", file, *SMALL, "--seed", 1)[0] == 0
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    tests = [set(read(tmp_path / name / "test.jsonl")) for name in ("one", "three")]
    assert len(tests[0] & tests[1]) < 15


def test_the_vocabulary_can_be_trained_on_a_part(tmp_path: Path, prepare: Prepare) -> None:
    file = write(tmp_path / "a.jsonl", sentences(600))
    assert prepare(tmp_path / "out", "--train", file, *SMALL, "--vocabulary-sentences", 300)[0] == 0
    assert 200 < report_of(tmp_path / "out")["vocabulary"]["trained_on_sentences"] < 400


def test_several_files_of_several_formats_are_one_corpus(tmp_path: Path, prepare: Prepare) -> None:
    pairs = sentences(300)
    first = write(tmp_path / "a.jsonl", pairs[:100])
    tsv = tmp_path / "b.tsv"
    tsv.write_text("".join(f"{s}\t{t}\n" for s, t in pairs[100:200]))
    english, german = tmp_path / "c:d.en", tmp_path / "c:d.de"
    english.write_text("".join(f"{s}\n" for s, _ in pairs[200:]))
    german.write_text("".join(f"{t}\n" for _, t in pairs[200:]))
    code, _, _ = prepare(
        *(tmp_path / "out", "--train", first, tsv, "--train", f"{english}:{german}"),
        *("--vocabulary-size", 300, "--valid-size", 0, "--test-size", 0),
    )
    assert code == 0
    assert read(tmp_path / "out" / "train.jsonl") == pairs
    assert set(contents(tmp_path / "out")) == FILES - {"valid.jsonl", "test.jsonl"}


class RecordedProgress:
    """Compares each announced total with what came."""

    def __init__(self) -> None:
        self.seen: list[tuple[int | None, int]] = []

    def track(self, items: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
        count = 0
        for item in items:
            count += 1
            yield item
        self.seen.append((total, count))

    def say(self, text: str) -> None:
        assert "\n" not in text


def test_the_work_ahead_is_announced_right_also_for_parallel_files(tmp_path: Path) -> None:
    pairs = sentences(90)
    english, german = tmp_path / "a.en", tmp_path / "a.de"
    english.write_text("".join(f"{s}\n" for s, _ in pairs))
    german.write_text("".join(f"{t}\n" for _, t in pairs))
    files = CorpusFiles(train=[PairFiles(english, german)])
    settings = PreparationSettings(vocabulary_size=300, valid_size=5, test_size=5)
    progress = RecordedProgress()
    prepare_corpus(tmp_path / "out", files, settings, progress)
    assert all(total in (None, count) for total, count in progress.seen)
    assert [count for total, count in progress.seen if total] == [90, 90, 80, 80, 5, 5]


def test_a_finished_result_is_left_alone(tmp_path: Path, prepare: Prepare) -> None:
    file = write(tmp_path / "a.jsonl", sentences(200))
    out = tmp_path / "out"
    _, table, _ = prepare(out, "--train", file, *SMALL)
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    code, said, _ = prepare(out, "--train", file, *SMALL)
    assert code == 0
    assert said.splitlines()[-1] == f"{out} was finished already, from the same input and settings"
    assert said.splitlines()[:-1] == table.splitlines()[:-1]
    assert {path.name: path.stat().st_mtime_ns for path in out.iterdir()} == before


def refused(prepare: Prepare, out: Path, *arguments: object) -> str:
    """The one line of a refusal that leaves everything as it was."""
    before = contents(out) if out.is_dir() else None
    code, said, err = prepare(out, *arguments)
    assert (code, said) == (2, "")
    assert "Traceback" not in err
    assert (contents(out) if out.is_dir() else None) == before
    assert not out.with_name(out.name + ".partial").exists()
    return err.splitlines()[-1]


def test_a_result_of_something_else_is_not_overwritten(tmp_path: Path, prepare: Prepare) -> None:
    file = write(tmp_path / "a.jsonl", sentences(200))
    out = tmp_path / "out"
    prepare(out, "--train", file, *SMALL)
    assert refused(prepare, out, "--train", file, *SMALL, "--seed", 7) == (
        f"sekd prepare: {out}: holds the result of other settings (seed was 0, is now 7); "
        "choose another folder, or remove this one first"
    )
    other = write(tmp_path / "b.jsonl", sentences(200, seed=3))
    said = refused(prepare, out, "--train", other, *SMALL)
    assert f"{out}: holds the result of other train files; choose" in said
    said = refused(prepare, out, "--train", file, "--test", other, *SMALL)
    assert f"{out}: holds the result of other test files; choose" in said
    (out / "train.jsonl").write_text("edited")
    said = refused(prepare, out, "--train", file, *SMALL)
    assert f"{out / 'train.jsonl'}: was changed since this result was made" in said
    (out / "train.jsonl").unlink()
    said = refused(prepare, out, "--train", file, *SMALL)
    assert f"{out / 'train.jsonl'}: is missing although this result was made" in said


def test_a_folder_of_other_files_or_a_file_is_not_overwritten(
    tmp_path: Path, prepare: Prepare
) -> None:
    file = write(tmp_path / "a.jsonl", sentences(100))
    folder = tmp_path / "mine"
    folder.mkdir()
    for name, text in (("diary.txt", "dear diary"), ("report.json", "[]")):
        (folder / name).write_text(text)
        said = refused(prepare, folder, "--train", file, *SMALL)
        assert said.startswith(f"sekd prepare: {folder}: already holds files, and not a result")
    assert refused(prepare, file, "--train", file, *SMALL).endswith("choose another name")


def test_an_empty_folder_may_be_filled(tmp_path: Path, prepare: Prepare) -> None:
    (tmp_path / "out").mkdir()
    file = write(tmp_path / "a.jsonl", sentences(100))
    assert prepare(tmp_path / "out", "--train", file, *SMALL)[0] == 0
    assert set(contents(tmp_path / "out")) == FILES


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"src": "a", "tgt": "b"}\nx\n', ", line 2: is not JSON: Expecting value at column 1"),
        ('{"src": "a"}\n', ", line 1: has no field 'tgt'; known: src"),
        ("", ": is empty"),
        ('{"src": "", "tgt": "b"}\n', "too few to hold out 30 for test and 20 for valid"),
    ],
)
def test_bad_input_leaves_nothing_behind(
    tmp_path: Path, prepare: Prepare, content: str, said: str
) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text(content)
    assert said in refused(prepare, tmp_path / "out", "--train", file, *SMALL)
    assert list(tmp_path.iterdir()) == [file]


def test_nothing_left_to_train_on_says_what_was_dropped(tmp_path: Path, prepare: Prepare) -> None:
    file = write(
        tmp_path / "a.jsonl", [("Same thing", "etwas"), ("same  thing", "anderes"), ("", "z")]
    )
    test = write(tmp_path / "t.jsonl", [("SAME thing", "x")])
    said = refused(*(prepare, tmp_path / "out", "--train", file, "--test", test, "--valid-size", 0))
    assert said.endswith(
        "no pair is left to train on; dropped were source is in test: 2, empty side: 1"
    )


def test_a_test_file_without_a_usable_pair_is_refused(tmp_path: Path, prepare: Prepare) -> None:
    file = write(tmp_path / "a.jsonl", sentences(100))
    test = write(tmp_path / "t.jsonl", [("", "x")])
    said = refused(prepare, tmp_path / "out", "--train", file, "--test", test, *SMALL)
    assert said == "sekd prepare: the test files hold no pair that can be used"


def test_an_option_out_of_range_is_named_as_it_was_written(
    tmp_path: Path, prepare: Prepare
) -> None:
    file = write(tmp_path / "a.jsonl", sentences(100))
    said = refused(prepare, tmp_path / "out", "--train", file, "--max-ratio", 0.5)
    assert said.startswith("sekd prepare: --max-ratio: 0.5 is out of range")
    said = refused(prepare, tmp_path / "out", "--train", file, "--template", "{src}")
    assert said.startswith("sekd prepare: --template: '{src}' is not allowed")
    said = refused(prepare, tmp_path / "out", "--train", file, "--model-type", "unigramm")
    assert "--model-type: 'unigramm' is not known; did you mean 'unigram'?" in said


def test_the_current_folder_is_no_place_for_a_result(
    tmp_path: Path, prepare: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path / "a.jsonl", sentences(100))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for name in (".", "../here", ".."):
        assert "cannot become the result's folder" in prepare(name, "--train", file, *SMALL)[2]
    assert list((tmp_path / "here").iterdir()) == []
