"""A cached teacher trains as the live one does, and one that does not fit is refused."""

import json
import os
import re
import subprocess
import sys

import pytest
import safetensors.torch
import sentencepiece
import torch
from forked_training import fork_ranks, fork_training
from tiny_recipe import MODEL, write_pairs

from sekd_plugin.cli import main
from sekd_plugin.teachers.cache import TeacherCache
from sekd_plugin.teachers.cache.shards import Shard
from sekd_plugin.teachers.cache.verification import verify

KD = ("criterion.name=self_evolution_kd", "regime.validate_at_start=true")
EXACT = ("--top-k", "300", "--probability-bits", "32")


def cache(taught, *options, settings=(), expect=0, name="cache"):
    """Run the command in this process; what it printed, or on a mistake its errors."""
    taught.capture()
    code = main(
        [
            "cache-teacher",
            str(taught.folder / name),
            *taught.arguments((KD[0], taught.teacher("teacher", 8), *settings)),
            *options,
        ]
    )
    out, error = taught.capture()
    assert code == expect, error
    return out if expect == 0 else error


def from_cache(taught, run, *settings, expect=0, name="cache"):
    """Train with the cache in the teacher's place."""
    path = f"teacher_cache.path={taught.folder / name}"
    return taught.train(run, *KD, path, *settings, expect=expect)


def weights(taught, run, step=8):
    files = sorted(taught.checkpoint(run, step).rglob("*.pt"))
    assert files
    return torch.load(files[0], weights_only=True)


def alike(first, second):
    for name, ours in first.items():
        if isinstance(ours, dict):
            alike(ours, second[name])
        elif isinstance(ours, torch.Tensor):
            torch.testing.assert_close(ours, second[name], rtol=2e-4, atol=2e-6)


@pytest.mark.parametrize("kernel", ["auto", "reference"])
def test_with_every_word_it_trains_as_the_live_teacher_does(taught, kernel):
    cache(taught, *EXACT)
    kernel = f"criterion.kernel={kernel}"
    taught.train("live", *KD, taught.teacher("teacher", 8), kernel)
    from_cache(taught, "read", kernel)
    for split in ("train", "valid"):
        pairs = zip(taught.metrics("live", split), taught.metrics("read", split), strict=True)
        for live, read in pairs:
            for name in ("Loss", "Gamma", "Hard Ratio", "Difficulty"):
                if name in live:
                    assert read[name] == pytest.approx(live[name], rel=1e-4, abs=1e-6), name
    alike(weights(taught, "live"), weights(taught, "read"))


def test_few_words_give_a_difficulty_that_is_never_above_the_live_one(taught):
    cache(taught, *EXACT, name="all")
    cache(taught, "--top-k", "4", "--probability-bits", "32", name="few")
    difficulty = {}
    for name in ("all", "few"):
        from_cache(taught, name + "_run", name=name)
        difficulty[name] = taught.metrics(name + "_run", "valid")[0]
    assert difficulty["few"]["Difficulty"] < difficulty["all"]["Difficulty"]


def test_the_command_says_what_it_made_and_does_nothing_twice(taught):
    said = cache(taught, "--top-k", "8")
    assert "a token takes" in said and "nats a token" in said
    files = {file: file.stat().st_mtime_ns for file in (taught.folder / "cache").iterdir()}
    again = cache(taught, "--top-k", "8")
    assert "ran the teacher" not in again and "a token takes" in again
    assert {f: f.stat().st_mtime_ns for f in (taught.folder / "cache").iterdir()} == files
    taught.capture()
    assert main(["cache-teacher", "verify", str(taught.folder / "cache")]) == 0
    assert "is whole" in taught.capture()[0]


@pytest.mark.parametrize("bits", ["16", "32"])
def test_the_command_says_beforehand_how_much_room_the_cache_takes_at_most(taught, bits):
    taught.capture()
    words = ["cache-teacher", str(taught.folder / "cache"), "--top-k", "100"]
    words += taught.arguments((KD[0], taught.teacher("teacher", 8)))
    assert main([*words, "--probability-bits", bits]) == 0
    (most,) = re.findall(r"takes at most ([\d.]+) MiB", taught.capture()[1])
    (file,) = (taught.folder / "cache").glob("shard_*")
    size = file.stat().st_size / 2**20
    assert size < float(most) + 0.06 and float(most) < size + 0.06  # a header, and rounding


def test_the_same_sentences_in_another_order_and_weight_need_no_other_cache(taught, shared_folder):
    cache(taught, "--top-k", "8")
    lines = (shared_folder / "train.jsonl").read_text(encoding="utf-8").splitlines()
    half = taught.folder / "half.jsonl"
    half.write_text("\n".join(lines[::-2]) + "\n", encoding="utf-8")
    from_cache(taught, "half", f'dataset.train=[{{"path": "{half}", "weight": 1.5}}]')


def test_other_sentences_are_refused_by_file_and_line(taught):
    cache(taught, "--top-k", "8")
    other = write_pairs(taught.folder / "other.jsonl", 40, seed=9)
    error = from_cache(taught, "other", f'dataset.train=[{{"path": "{other}"}}]', expect=2)
    last = error.strip().splitlines()[-1]
    assert "dataset.train: " in last and "other.jsonl, line 1" in last and "teacher cache" in last
    assert not (taught.folder / "other").exists()


def vocabulary_of_another_kind(taught, shared_folder):
    sentencepiece.SentencePieceTrainer.train(
        input=str(shared_folder / "text.txt"),
        model_prefix=str(taught.folder / "other"),
        vocab_size=299,
        pad_id=3,
        byte_fallback=True,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    return taught.folder / "other.model"


def test_another_vocabulary_template_or_temperature_is_refused_naming_both(taught, shared_folder):
    cache(taught, "--top-k", "8")
    other = vocabulary_of_another_kind(taught, shared_folder)
    for settings, words in (
        (("dataset.template='{source} ->'",), "dataset.template: is '{source} ->'"),
        ((f"tokenizer.path={other}",), "tokenizer.path: "),
        (('criterion.config={"temperature": 2.0}',), "is 2; the teacher cache"),
        (
            (f"model.config_overrides={json.dumps({**MODEL, 'vocab_size': 310})}",),
            "was made for a student of 300 words; this one has 310",
        ),
        ((taught.teacher("teacher", 8),), "teacher_cache: stands in for the teacher"),
    ):
        error = from_cache(taught, "refused", *settings, expect=2)
        assert words in error and len(error.strip().splitlines()) == 1, error
        assert not (taught.folder / "refused").exists()


def test_a_cache_without_use_or_that_is_none_is_refused(taught):
    error = taught.train("ce", f"teacher_cache.path={taught.folder}", expect=2)
    assert "teacher_cache: would never be used by the criterion 'cross_entropy'" in error
    error = from_cache(taught, "none", expect=2, name="absent")
    assert "absent is not a teacher cache" in error


def test_a_changed_byte_stops_training_by_the_files_name(taught):
    cache(taught, "--top-k", "8")
    (file,) = (taught.folder / "cache").glob("shard_*")
    tensors = safetensors.torch.load_file(file)
    place = file.read_bytes().index(tensors["probabilities"].view(torch.uint8).numpy().tobytes())
    data = bytearray(file.read_bytes())
    for offset in range(0, len(tensors["probabilities"]) * 2, 40):
        data[place + offset] ^= 4
    file.unlink()
    file.write_bytes(data)
    error = from_cache(taught, "changed", expect=2)
    assert "shard_00000.safetensors: is damaged: the bytes of its sentence" in error
    taught.capture()
    assert main(["cache-teacher", "verify", str(taught.folder / "cache")]) == 2
    out, err = taught.capture()
    assert "shard_00000.safetensors" in out and "is not whole" in err


@pytest.mark.parametrize(
    ("settings", "options", "words"),
    [
        (("teacher=null",), (), "teacher: is missing; there is nothing to cache without one"),
        ((), ("--top-k", "0"), "top_k: 0 is out of range"),
        ((), ("--top-p", "2"), "top_p: 2.0 is out of range"),
        (("criterion.name=cross_entropy",), (), "teacher: would never be used"),
        (("tokenizer.path=nowhere.model",), (), "tokenizer.path: nowhere.model is not a file"),
        (
            ('model={"family": "llama"}',),
            (),
            "teacher.config_overrides.vocab_size: the teacher has 300 words, the student 32000",
        ),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(taught, settings, options, words):
    error = cache(taught, *options, settings=settings, expect=2)
    assert words in error and len(error.strip().splitlines()) == 1
    assert not (taught.folder / "cache").exists()


def words_of(taught, *settings):
    """The command that fills a cache with every word, in small files."""
    common = taught.arguments((taught.teacher("teacher", 8), KD[0], *settings))
    files = ("--shard-sentences", "8")
    return ["cache-teacher", str(taught.folder / "cache"), *common, *EXACT, *files]


def test_two_processes_under_torchrun_fill_it_and_two_ranks_train_from_it(taught):
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*words, "-m", "sekd_plugin", *words_of(taught)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    cache(taught, *EXACT, "--shard-sentences", "8", name="alone")
    for file in (taught.folder / "alone").iterdir():
        assert file.read_bytes() == (taught.folder / "cache" / file.name).read_bytes()
    path = f"teacher_cache.path={taught.folder / 'cache'}"
    fork_training(taught, "two", *KD, path, "dataset.batch_tokens=128", ranks=2).output()
    taught.train(
        "one", *KD, taught.teacher("teacher", 8), "dataset.batch_tokens=128",
        "trainer.grad_accumulation.num_batches=2",
    )  # fmt: skip
    for one, two in zip(taught.metrics("one"), taught.metrics("two"), strict=True):
        assert two["Loss"] == pytest.approx(one["Loss"], rel=1e-4)


def every_row(folder):
    """All words' log p of each token of a cache, the sentences in their order, ``[n, V]``."""
    files = sorted(folder.glob("shard_*"))
    keys = [bytes(key) for file in files for key in Shard(file).keys.tolist()]
    rows = TeacherCache(folder).rows(keys)
    return torch.zeros(rows.indices.shape).scatter(1, rows.indices, rows.log_probabilities)


def test_a_teacher_that_is_divided_between_two_processes_says_what_it_says_whole(taught):
    words = words_of(taught, "gang.tensor_parallel_size=2")
    said = fork_ranks(words, taught.folder / "cache.log", ranks=2).output()
    assert said.count("ran the teacher on") == 1
    assert verify(taught.folder / "cache") == []
    cache(taught, *EXACT, "--shard-sentences", "8", name="alone")
    # The plan, with the teacher's fingerprint, is the same; the numbers are up to rounding.
    plans = [(taught.folder / name / "plan.json").read_bytes() for name in ("cache", "alone")]
    assert plans[0] == plans[1]
    divided, alone = (every_row(taught.folder / name) for name in ("cache", "alone"))
    torch.testing.assert_close(divided, alone, rtol=1e-5, atol=1e-5)


def test_a_teacher_cannot_be_divided_among_more_processes_than_there_are(taught):
    error = cache(taught, settings=("gang.tensor_parallel_size=2",), expect=2)
    assert error.splitlines()[-1] == (
        "sekd cache-teacher: gang.tensor_parallel_size: is 2, and this command runs as "
        "1 process(es); start 2 or a multiple of it with torchrun --nproc-per-node 2"
    )
    assert not (taught.folder / "cache").exists()
