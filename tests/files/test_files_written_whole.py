"""A file is written whole or not at all, and what was there is not lost."""

import os
import subprocess
import sys

import pytest

from sekd_plugin.checksum import sha256_of_file, sha256_of_files
from sekd_plugin.errors import DataError, SekdError
from sekd_plugin.new_file import replace_file, write_new_file, write_once


def no_room(_):
    raise OSError(28, "No space left on device")


def test_what_is_replaced_stays_where_the_disk_is_full(tmp_path, monkeypatch):
    file = tmp_path / "new" / "file.txt"
    replace_file(file, "before\n")
    monkeypatch.setattr(os, "fsync", no_room)
    with pytest.raises(OSError, match="No space left"):
        replace_file(file, "after\n")
    assert file.read_text() == "before\n" and list(file.parent.iterdir()) == [file]
    monkeypatch.undo()
    replace_file(file, "ä\n")
    assert file.read_bytes() == "ä\n".encode()


def test_a_new_file_is_never_written_over_another(tmp_path):
    file = tmp_path / "file.txt"
    write_new_file(file, "first")
    with pytest.raises(SekdError, match=r"file.txt exists already"):
        write_new_file(file, "second")
    assert file.read_text() == "first" and list(tmp_path.iterdir()) == [file]


def test_of_several_that_write_once_the_first_one_wins(tmp_path, monkeypatch):
    file = tmp_path / "file.txt"
    write_once(file, "first")
    write_once(file, "second")
    assert file.read_text() == "first" and list(tmp_path.iterdir()) == [file]
    monkeypatch.setattr(os, "fsync", no_room)
    with pytest.raises(SekdError, match=r"other.txt cannot be written: No space left"):
        write_once(tmp_path / "other.txt", "third")
    assert list(tmp_path.iterdir()) == [file]


def test_checksums_are_those_of_sha256sum(tmp_path):
    file = tmp_path / "a" / "file"
    file.parent.mkdir()
    file.write_bytes(bytes(range(256)))
    code = "import hashlib, sys; print(hashlib.sha256(open(sys.argv[1], 'rb').read()).hexdigest())"
    words = [sys.executable, "-c", code, str(file)]
    expected = subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    assert sha256_of_file(file) == expected
    assert sha256_of_files(file) == sha256_of_files(file.parent)
    (tmp_path / "a" / "other").write_text("")
    assert sha256_of_files(file) != sha256_of_files(file.parent)
    with pytest.raises(DataError, match=r"gone: cannot be read: No such file"):
        sha256_of_file(tmp_path / "gone")
