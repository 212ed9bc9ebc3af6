"""A teacher cache that is killed, starved and damaged while it is made: not a sentence is lost."""

import os
import random
import signal
import subprocess
import sys
import time

from full_disk import FULL, fill
from tiny_recipe import write_pairs

from sekd_plugin.cli import main
from sekd_plugin.teachers.cache.verification import verify

KILLS = 20
SENTENCES, SHARD = 3000, 10
FLIPS, CUTS = 300, 100
STEPS = 700
"""More than one pass over the sentences: each is read."""
SEED = 13


def command(taught, folder, *options):
    """The words that fill a cache in ``folder`` from many sentences."""
    corpus = taught.folder / "many.jsonl"
    if not corpus.exists():
        write_pairs(corpus, SENTENCES, seed=5)
    settings = (
        "criterion.name=self_evolution_kd",
        taught.teacher("teacher", 8),
        f'dataset.train=[{{"path": "{corpus}"}}]',
    )
    return ["cache-teacher", str(folder), *taught.arguments(settings), *options]


def contents(folder):
    """Every file of a cache, with its bytes."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def shards(folder):
    """How many files are finished, and whether one is being written."""
    names = os.listdir(folder) if folder.is_dir() else []
    return (
        sum(name.startswith("shard_") for name in names),
        any(name.startswith(".shard_") for name in names),
    )


def wait_at_start(process, draw, folder):
    """Some moment of the start: imports, the teacher, the corpus."""
    until = time.monotonic() + draw.uniform(0.5, 5.0)
    while time.monotonic() < until and process.poll() is None:
        time.sleep(0.01)


def wait_for_shards(process, draw, folder):
    """Some files further than before."""
    further = shards(folder)[0] + draw.randint(1, 6)
    while process.poll() is None and shards(folder)[0] < further:
        pass
    time.sleep(draw.uniform(0.0, 0.02))


def wait_for_writing(process, draw, folder):
    """While a file is being written."""
    before = shards(folder)[0]
    while process.poll() is None:
        finished, writing = shards(folder)
        if writing and finished > before:
            break


def fault_twenty_kills_of_caching_change_not_one_byte(taught, figure):
    options = ("--shard-sentences", str(SHARD), "--top-k", "16")
    whole, killed = taught.folder / "whole", taught.folder / "killed"
    assert main(command(taught, whole, *options)) == 0
    draw = random.Random(SEED)
    waits = [wait_for_writing] * 9 + [wait_for_shards] * 7 + [wait_at_start] * 4
    draw.shuffle(waits)

    half_written = 0
    for wait in waits[:KILLS]:
        words = [sys.executable, "-m", "sekd_plugin", *command(taught, killed, *options)]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        wait(process, draw, killed)
        assert process.poll() is None, f"it ended first:\n{process.stdout.read().decode()}"
        process.send_signal(signal.SIGKILL)
        process.communicate()
        half_written += shards(killed)[1]
    reached, _ = shards(killed)
    assert main(command(taught, killed, *options)) == 0

    assert contents(killed) == contents(whole)
    assert verify(killed) == []
    assert half_written >= 3, "too few kills came while a file was written"
    figure(
        f"{KILLS} kills, {half_written} of them with a file half written, the last after {reached} "
        f"of {shards(whole)[0]} files; all files equal the uninterrupted cache's, byte for byte"
    )


def fault_no_room_for_a_cache(taught, small_disk, capfd, figure):
    options = ("--shard-sentences", "100", "--top-k", "64")
    elsewhere, there = taught.folder / "elsewhere", small_disk.folder / "cache"
    assert main(command(taught, elsewhere, *options)) == 0
    capfd.readouterr()

    code = main(command(taught, there, *options))

    last = capfd.readouterr().err.strip().splitlines()[-1]
    assert code in (1, 2) and FULL in last and last.startswith("sekd cache-teacher: "), last
    made = contents(there)
    sound = [name for name in made if name.startswith("shard_")]
    assert sound and all(made[name] == contents(elsewhere)[name] for name in sound)
    assert not [name for name in made if name.startswith(".shard_")]
    fill(small_disk.folder / "filler")
    capfd.readouterr()
    assert main(command(taught, there, *options)) == code
    again = capfd.readouterr().err
    assert FULL in again.splitlines()[-1] and "Traceback" not in again
    assert {name: made[name] for name in sound}.items() <= contents(there).items()

    (small_disk.folder / "filler").unlink()
    small_disk.resize("64m")
    assert main(command(taught, there, *options)) == 0
    assert contents(there) == contents(elsewhere)
    figure(
        f"full after {len(sound)} of {shards(elsewhere)[0]} files: one line, these stand; "
        "with room, the same bytes"
    )


def fault_every_flipped_bit_and_every_cut_of_a_cache_is_found(taught, figure):
    options = ("--shard-sentences", "1000", "--top-k", "8")
    cache = taught.folder / "cache"
    assert main(command(taught, cache, *options)) == 0
    draw = random.Random(SEED)
    files = sorted(cache.iterdir())
    sizes = [file.stat().st_size for file in files]

    def spoil(file, cut):
        sound = file.read_bytes()
        content = bytearray(sound)
        if cut:
            del content[draw.randrange(len(content)) :]
        else:
            content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        file.write_bytes(content)
        return sound

    found = 0
    for number in range(FLIPS + CUTS):
        file = draw.choices(files, sizes)[0]
        sound = spoil(file, cut=number >= FLIPS)
        problems = verify(cache)
        found += any(str(file) in problem for problem in problems)
        assert problems, (file, number)
        file.write_bytes(sound)
    assert verify(cache) == []
    assert found == FLIPS + CUTS

    settings = ("criterion.name=self_evolution_kd", f"teacher_cache.path={cache}")
    corpus = f'dataset.train=[{{"path": "{taught.folder / "many.jsonl"}"}}]'
    refused = 0
    for file in files:
        for cut in (False, True):
            sound = spoil(file, cut)
            run = f"from_{file.stem}_{cut}"
            said = taught.train(run, *settings, corpus, f"regime.num_steps={STEPS}", expect=2)
            last = said.strip().splitlines()[-1]
            assert str(file) in last and "Traceback" not in said, said
            assert not (taught.folder / run / f"checkpoints/step_{STEPS}").exists(), "it went on"
            file.write_bytes(sound)
            refused += 1
    figure(
        f"{FLIPS} of {FLIPS} flipped bits (of {8 * sum(sizes):,}) and {CUTS} of {CUTS} cuts found "
        f"by verify, each by its file's name; training refused {refused} of {refused} by name"
    )
