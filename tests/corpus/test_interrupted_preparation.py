"""A preparation that was killed is simply started again."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from forked_programs import start_forked

import sekd_plugin.commands.prepare  # noqa: F401  # before the fork
from sekd_plugin.corpus.preparation import CorpusFiles, PairFiles, prepare_corpus
from sekd_plugin.corpus.result_folder import partial_folder
from sekd_plugin.corpus.settings import PreparationSettings
from sekd_plugin.errors import SekdError
from sekd_plugin.recipes_folder import recipes_folder

SETTINGS = PreparationSettings(vocabulary_size=2000, valid_size=100, test_size=100)


@pytest.fixture(scope="module")
def files() -> CorpusFiles:
    return CorpusFiles(train=[PairFiles(recipes_folder() / "corpus" / "en-de" / "train.jsonl")])


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, files: CorpusFiles) -> dict[str, bytes]:
    """What a preparation makes that nothing befalls: file → content."""
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    prepare_corpus(out, files, SETTINGS)
    return contents(out)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("reached", ["train.jsonl", "vocabulary.model"])
def test_a_killed_run_leaves_no_result_and_the_next_equals_an_uninterrupted_one(
    tmp_path: Path, files: CorpusFiles, undisturbed: dict[str, bytes], reached: str
) -> None:
    out, partial = tmp_path / "out", tmp_path / "out.partial"
    command = ["prepare", str(out), "--train", str(files.train[0].path)]
    command += ["--vocabulary-size", "2000", "--valid-size", "100", "--test-size", "100"]
    process = start_forked(command, tmp_path / "log", lock=-1)
    deadline = time.monotonic() + 120
    while not (partial / reached).exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not out.exists()
    assert (partial / reached).exists()

    _, made = prepare_corpus(out, files, SETTINGS)
    assert made
    assert not partial.exists()
    assert contents(out) == undisturbed


def test_two_runs_do_not_write_the_same_folder_at_once(tmp_path: Path, files: CorpusFiles) -> None:
    with partial_folder(tmp_path / "out", frozenset()):
        with pytest.raises(SekdError, match="another process is writing there"):
            prepare_corpus(tmp_path / "out", files, SETTINGS)
        assert (tmp_path / "out.partial").is_dir()
    assert os.listdir(tmp_path) == ["out"]


def test_somebody_elses_partial_folder_is_left_alone(tmp_path: Path, files: CorpusFiles) -> None:
    partial = tmp_path / "out.partial"
    partial.mkdir()
    (partial / "train.jsonl").write_text("old")
    (partial / "thesis.tex").write_text("years of work")
    with pytest.raises(SekdError, match=r"thesis\.tex: is in the way"):
        prepare_corpus(tmp_path / "out", files, SETTINGS)
    assert contents(partial) == {"train.jsonl": b"old", "thesis.tex": b"years of work"}


def test_a_folder_that_comes_into_being_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with (
        pytest.raises(SekdError, match="came into being meanwhile"),
        partial_folder(out, frozenset({"a"})) as partial,
    ):
        (partial / "a").write_text("new")
        out.mkdir()
        (out / "a").write_text("old")
    assert contents(out) == {"a": b"old"}
    assert not (tmp_path / "out.partial").exists()
