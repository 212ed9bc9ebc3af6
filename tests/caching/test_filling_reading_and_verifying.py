"""A cache is filled by anyone, killed at any moment, read in any order; every fault is found."""

import dataclasses
import errno
import json
import math
import os
import random
import resource
import shutil
import signal
import time

import pytest
import torch
from forked_programs import fork
from made_up_cache import SENTENCES, fill, make

from sekd_plugin.checksum import sha256_of_file
from sekd_plugin.errors import ConfigError, DataError, SekdError
from sekd_plugin.teachers.cache import TeacherCache
from sekd_plugin.teachers.cache.filling import index_text
from sekd_plugin.teachers.cache.plan import begin, one_or_all, read_checked, with_checksum
from sekd_plugin.teachers.cache.shards import Shard, write_shard
from sekd_plugin.teachers.cache.verification import verify
from sekd_plugin.teachers.likeliest import ListedRows


def files_of(folder):
    """What is in a folder: name → bytes."""
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}


def started(folder, pause):
    """A process that fills a cache until it is done, and waits so long for each sentence."""

    def work():
        fill(folder, make(), pause)
        return 0

    return fork(work)


def test_every_sentence_comes_back_in_any_order(made_up):
    folder, made = made_up
    cache = TeacherCache(folder)
    assert len(cache) == SENTENCES
    order = random.Random(3).sample(range(SENTENCES), SENTENCES)
    found = cache.rows([made.keys[number] for number in order])
    exact = torch.cat([made.rows[number].log_gold for number in order])
    assert torch.equal(found.log_gold, exact)
    start = 0
    for number in order:
        rows = made.rows[number]
        stop = start + rows.log_gold.numel()
        held = ~torch.isneginf(rows.log_probabilities)
        width = int(held.sum(-1).max())
        assert torch.equal(found.indices[start:stop, :width][held[:, :width]], rows.words[held])
        assert torch.isneginf(found.log_probabilities[start:stop, width:]).all()
        torch.testing.assert_close(
            found.log_probabilities[start:stop, :width], rows.log_probabilities[:, :width],
            rtol=0, atol=3e-4,
        )  # fmt: skip
        start = stop
    assert start == found.log_gold.numel()


def test_a_sentence_that_is_not_there_is_told(made_up):
    folder, made = made_up
    cache = TeacherCache(folder)
    other = b"0123456789abcdef"
    near = made.keys[4][:8] + other[8:]  # alike in its first half
    assert cache.missing([made.keys[3], other, made.keys[4], near]) == [1, 3]
    with pytest.raises(KeyError):
        cache.rows([made.keys[0], near])


def test_filling_goes_on_where_it_stopped_and_ends_in_the_same_bytes(tmp_path, made_up):
    whole, made = made_up
    folder = tmp_path / "again"
    assert fill(folder, made, most=2) == [0, 1]
    before = {name: (folder / name).stat().st_mtime_ns for name in files_of(folder)}
    with pytest.raises(SekdError, match=r"not finished: 3 of 5 files are missing"):
        TeacherCache(folder)
    assert fill(folder, made) == [2, 3, 4]
    assert files_of(folder) == files_of(whole)
    assert all((folder / name).stat().st_mtime_ns == at for name, at in before.items())
    assert fill(folder, made) == []
    assert not (folder / "locks").exists()


def test_killed_again_and_again_it_loses_and_doubles_nothing(tmp_path, made_up):
    whole, _ = made_up
    folder = tmp_path / "killed"
    draw = random.Random(1)
    for kills in range(30):
        process = started(folder, 0.03)  # 0.15 s a file
        time.sleep(0.3 * draw.random())
        if process.poll() is not None:
            break
        process.kill()
        process.wait()
        if kills >= 3:
            process = started(folder, 0.0)
            process.wait()
            break
    assert kills >= 2
    assert files_of(folder) == files_of(whole)
    assert verify(folder) == []


def test_several_processes_fill_one_cache_each_file_once(tmp_path, made_up):
    whole, _ = made_up
    folder = tmp_path / "together"
    processes = [started(folder, 0.03) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert files_of(folder) == files_of(whole)


def test_a_file_that_another_process_makes_is_left_to_it(tmp_path):
    made = make()
    folder = tmp_path / "held"
    process = started(folder, 1.0)
    try:
        for _ in range(200):
            if (folder / "locks").exists() and list((folder / "locks").iterdir()):
                break
            time.sleep(0.05)
        assert fill(folder, made) == [1, 2, 3, 4]
        with pytest.raises(SekdError, match="1 of 5 files are missing"):
            TeacherCache(folder)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert fill(folder, made) == [0]
        assert verify(folder) == []
    finally:
        process.kill()
        process.wait()


def test_a_partial_file_of_a_killed_process_is_taken_away(tmp_path):
    folder = tmp_path / "cache"
    made = make()
    begin(folder, made.plan)
    (folder / ".shard_00001.safetensors.4711").write_bytes(b"half")
    fill(folder, made)
    assert not list(folder.glob(".*"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"top_k": 7}, "its top_k is 8, and 7 is asked for"),
        (
            {"template": "{source}!"},
            r"its template is '\{source\}', and '\{source\}!' is asked for",
        ),
        ({"teacher_fingerprint": "1"}, "its teacher_fingerprint is '0', and '1'"),
        ({"temperature": 2.0}, "its temperature is 1.0, and 2.0"),
        ({"data_fingerprint": "1"}, "its data_fingerprint is"),
    ],
)
def test_a_folder_with_a_cache_of_other_things_is_left_alone(made_up, changes, words):
    folder, _ = made_up
    before = files_of(folder)
    with pytest.raises(SekdError, match=words):
        begin(folder, make(**changes).plan)
    assert files_of(folder) == before


def test_another_place_of_teacher_and_vocabulary_is_no_other_cache(made_up):
    folder, made = made_up
    there = begin(folder, make(teacher="moved", tokenizer="moved").plan)
    assert there.teacher == made.plan.teacher


def test_a_plan_keeps_the_prompts_of_all_files_whatever_their_order(tmp_path):
    first, second = "a {source}", "b {source}"
    begin(tmp_path, make(template=one_or_all([second, first, second])).plan)
    there = begin(tmp_path, make(template=one_or_all([first, second])).plan)
    assert there.templates == [first, second]
    one = make(template=one_or_all([first, first])).plan
    assert (one.template, one.templates) == (first, [first])
    with pytest.raises(SekdError, match="its template is"):
        begin(tmp_path, one)


def test_a_folder_with_other_files_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(SekdError, match=r"holds other files \(thesis.tex\)"):
        begin(tmp_path, make().plan)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_folder_that_is_no_cache_says_so(tmp_path):
    with pytest.raises(SekdError, match=r"is not a teacher cache: it has no plan.json"):
        TeacherCache(tmp_path)


@pytest.mark.parametrize(
    ("changes", "key"),
    [({"probability_bits": 8}, "probability_bits"), ({"shard_sentences": 0}, "shard_sentences"),
     ({"top_k": 70_000}, "top_k")],
)  # fmt: skip
def test_a_plan_out_of_range_is_refused(changes, key):
    with pytest.raises(ConfigError, match=f"^{key}: "):
        make(**changes)


def test_the_index_holds_exact_sums_which_no_number_of_threads_changes(tmp_path):
    """Sums of floats in the order of some threads would differ between writer and verifier."""
    made = make()
    rows = ListedRows.joined([each for each in made.rows for _ in range(800)])
    file = tmp_path / "shard"
    write_shard(file, made.keys[:1], [rows], made.plan)
    summary = Shard(file).summary()
    assert summary.num_tokens > 2**15  # torch divides a longer sum among threads
    assert summary.entropy == -math.fsum(rows.negative_entropy.tolist())
    assert summary.tail == math.fsum(map(math.exp, rows.log_tail.tolist()))


def test_files_may_be_read_by_whom_the_umask_lets(tmp_path):
    before = os.umask(0o027)
    try:
        fill(tmp_path / "cache", make())
    finally:
        os.umask(before)
    modes = {file.stat().st_mode & 0o777 for file in (tmp_path / "cache").iterdir()}
    assert modes == {0o640}


def test_a_whole_cache_is_found_whole(made_up):
    assert verify(made_up[0]) == []


def test_any_flipped_bit_is_found_by_verify_and_names_the_file(made_up, tmp_path):
    folder, _ = made_up
    draw = random.Random(7)
    for name, data in files_of(folder).items():
        places = draw.sample(range(len(data)), min(len(data), 120))
        for place in places:
            changed = bytearray(data)
            changed[place] ^= 1 << draw.randrange(8)
            (folder / name).write_bytes(changed)
            problems = verify(folder)
            assert problems and name in problems[0], (name, place)
        (folder / name).write_bytes(data)
    assert verify(folder) == []


def test_a_flipped_bit_never_reaches_a_reader(made_up):
    """Each reading either gives what was written or refuses by the file's name."""
    folder, made = made_up
    exact = TeacherCache(folder).rows(made.keys)
    draw = random.Random(8)
    file = folder / "shard_00002.safetensors"
    data = file.read_bytes()
    refused = 0
    for place in draw.sample(range(len(data)), 300):
        changed = bytearray(data)
        changed[place] ^= 1 << draw.randrange(8)
        # Another file, not another content: the first is still mapped.
        file.unlink()
        file.write_bytes(changed)
        try:
            found = TeacherCache(folder).rows(made.keys)
        except DataError as error:
            assert "shard_00002.safetensors" in str(error) and "damaged" in str(error)
            refused += 1
        else:
            assert torch.equal(found.log_probabilities, exact.log_probabilities)
            assert torch.equal(found.indices, exact.indices)
            assert torch.equal(found.log_tail, exact.log_tail)
            assert torch.equal(found.log_gold, exact.log_gold)
    assert refused > 200


@pytest.mark.parametrize("keep", [0, 7, 300, -1])
def test_a_file_cut_short_is_refused_by_name(made_up, keep):
    folder, _ = made_up
    file = folder / "shard_00001.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"shard_00001.safetensors: is damaged: it has \d+ bytes"):
        TeacherCache(folder)
    assert "shard_00001.safetensors" in verify(folder)[0]


def test_a_missing_file_is_named(made_up):
    folder, _ = made_up
    (folder / "shard_00003.safetensors").unlink()
    with pytest.raises(DataError, match=r"shard_00003.safetensors: is missing"):
        TeacherCache(folder)
    assert len(verify(folder)) == 1


def test_a_file_of_another_cache_is_refused(made_up, tmp_path):
    folder, _ = made_up
    fill(tmp_path / "other", make(temperature=2.0))
    name = "shard_00000.safetensors"
    shutil.copy(tmp_path / "other" / name, folder / name)
    assert verify(folder)


def test_a_row_that_is_missing_from_index_and_file_alike_is_found(made_up):
    folder, made = made_up
    files = sorted(folder.glob("shard_*"))
    files[-1].unlink()
    write_shard(files[-1], made.keys[20:22], made.rows[20:22], made.plan)
    (folder / "index.json").write_text(
        index_text(made.plan, [Shard(file).summary() for file in files])
    )
    (problem,) = verify(folder)
    assert f"holds {SENTENCES - 1} sentences" in problem


def test_rows_of_another_sentence_are_found(made_up):
    folder, made = made_up
    files = sorted(folder.glob("shard_*"))
    files[-1].unlink()
    keys = [made.keys[20], made.keys[21], bytes(16)]
    write_shard(files[-1], keys, made.rows[20:23], made.plan)
    (folder / "index.json").write_text(
        index_text(made.plan, [Shard(file).summary() for file in files])
    )
    assert verify(folder) == [f"{folder}: its sentences are not those that the plan names"]


def test_a_disk_that_is_full_is_one_line_and_leaves_what_was_there(tmp_path):
    folder = tmp_path / "cache"
    made = make()
    fill(folder, made, most=2)
    before = files_of(folder)

    def without_room():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))
        with pytest.raises(SekdError, match="cannot be written"):
            fill(folder, make())
        return 0

    assert fork(without_room).wait() == 0
    assert files_of(folder) == before
    assert fill(folder, made) == [2, 3, 4]
    assert verify(folder) == []


def test_what_the_index_says_of_a_file_is_compared_too(made_up):
    folder, made = made_up
    files = sorted(folder.glob("shard_*"))
    summaries = [Shard(file).summary() for file in files]
    for change, words in (
        ({"entropy": 1.0}, "does not hold what the index says of it"),
        ({"sha256": "0" * 64}, "is damaged: its checksum is another"),
    ):
        changed = [*summaries]
        changed[2] = dataclasses.replace(summaries[2], **change)
        (folder / "index.json").write_text(index_text(made.plan, changed))
        assert verify(folder) == [f"{files[2]}: {words}"]


def test_a_sentence_whose_bytes_and_checksum_were_changed_alike_is_found_by_the_whole_file(made_up):
    folder, made = made_up
    file = folder / "shard_00000.safetensors"
    rows = [dataclasses.replace(each, log_gold=each.log_gold - 1.0) for each in made.rows[:5]]
    file.unlink()
    write_shard(file, made.keys[:5], rows, made.plan)
    summary = Shard(file).summary()
    index = folder / "index.json"
    content = json.loads(index.read_text())["shards"][0]
    assert content["directory_sha256"] != summary.directory_sha256
    # The directory holds each sentence's checksum, so it tells before anything is read.
    (problem,) = verify(folder)
    assert problem == f"{file}: is damaged: its directory of sentences has changed"


def test_an_index_of_another_plan_and_a_plan_of_another_format_are_refused(made_up):
    folder, _ = made_up
    index = folder / "index.json"
    index.write_text(index_text(make(temperature=2.0).plan, []))
    with pytest.raises(DataError, match=r"index.json: is not of this folder's plan.json"):
        TeacherCache(folder)
    plan = folder / "plan.json"
    plan.write_text(with_checksum({"format": 2}))
    with pytest.raises(DataError, match="is of format 2; this version reads 1"):
        TeacherCache(folder)
    plan.write_text(with_checksum({"format": 1, "template": "{source}"}))
    with pytest.raises(DataError, match="is not a plan of a teacher cache"):
        TeacherCache(folder)


def test_what_cannot_be_read_or_written_is_one_line(tmp_path, monkeypatch, made_up):
    folder, made = made_up
    inside = tmp_path / "a file" / "cache"
    (tmp_path / "a file").write_text("")
    with pytest.raises(SekdError, match=r"cache cannot be written: Not a directory"):
        begin(inside, made.plan)
    (tmp_path / "new").mkdir()
    begin(tmp_path / "new", made.plan)
    (tmp_path / "new" / "locks").write_text("")
    with pytest.raises(SekdError, match=r"new cannot be written: "):
        fill(tmp_path / "new", made)
    for file in (folder / "gone", folder):
        with pytest.raises(DataError, match="cannot be read: "):
            read_checked(file)
        with pytest.raises(DataError, match="cannot be read: "):
            sha256_of_file(file)

    def no_room(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", no_room)
    with pytest.raises(SekdError, match="shard cannot be written: No space left on device"):
        write_shard(tmp_path / "shard", made.keys[:1], made.rows[:1], made.plan)
    assert not list(tmp_path.glob(".shard*"))


def test_rows_are_split_as_they_were_joined():
    made = make()
    joined = ListedRows.joined(made.rows).to(torch.device("cpu"))
    for part, row in zip(joined.split([row.log_gold.numel() for row in made.rows]), made.rows,
                         strict=True):  # fmt: skip
        assert torch.equal(part.words, row.words) and torch.equal(part.log_tail, row.log_tail)


def test_a_bit_may_make_any_number_of_a_tail(made_up):
    """Sums are not formed of numbers that are damaged: e^1e30 would be an error of its own."""
    folder, made = made_up
    file = folder / "shard_00000.safetensors"
    data = bytearray(file.read_bytes())
    number = made.rows[0].log_tail.numpy().tobytes()
    place = data.index(number)
    data[place : place + 4] = torch.tensor([1e30]).numpy().tobytes()
    file.unlink()
    file.write_bytes(data)
    (problem,) = verify(folder)
    assert problem == f"{file}: is damaged: the bytes of its sentence 0 have changed"
