"""A million lines of which one in a hundred is broken."""

import json
import random
import subprocess
import sys
from collections import Counter

import pytest

LINES = 1_000_000
BROKEN = {
    "is not JSON": b'{"src": "the red house", "tgt": "das ro\n',
    "has no field 'tgt'": b'{"src": "the red house", "target": "das rote haus"}\n',
    "field 'tgt' is a number, not a text": b'{"src": "the red house", "tgt": 7}\n',
    'is a list, not a JSON object such as {"src"': b'["the red house", "das rote haus"]\n',
    "is not UTF-8 text": b'{"src": "the red house", "tgt": "f\xfcr"}\n',
}
LEFT = ["the", "a", "red", "blue", "old", "new", "small", "large", "quick", "slow"]
RIGHT = ["der", "ein", "rot", "blau", "alt", "neu", "klein", "gross", "schnell", "langsam"]

# Runs a command and prints the most memory that it took, in KiB.
MEASURED = """
import resource, sys
from sekd_plugin.cli import main
code = main(sys.argv[1:])
print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
sys.exit(code)
"""

# Reads pairs alone, passing broken lines over, and prints the memory after a tenth and after all.
READING = """
import sys
from collections import Counter
from pathlib import Path
from sekd_plugin.corpus import read_pairs

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

kinds = Counter()
pairs = read_pairs(Path(sys.argv[1]), on_broken=lambda error: kinds.update([error.problem[:8]]))
read = 0
for read, _ in enumerate(pairs, start=1):
    if read == int(sys.argv[2]) // 10:
        early = resident()
print(early, resident(), read, sum(kinds.values()))
"""


@pytest.fixture(scope="module")
def broken_file(tmp_path_factory):
    """The file, and which of its lines are broken in which way."""
    file = tmp_path_factory.mktemp("broken") / "pairs.jsonl"
    draw = random.Random(3)
    where = {}
    with file.open("wb") as out:
        for number in range(1, LINES + 1):
            if draw.random() < 0.01:
                kind = draw.choice(list(BROKEN))
                where[number] = kind
                out.write(BROKEN[kind])
            else:
                words = [draw.randrange(len(LEFT)) for _ in range(6)]
                source = " ".join([*(LEFT[w] for w in words), str(number)])
                target = " ".join([*(RIGHT[w] for w in words), str(number)])
                out.write(json.dumps({"src": source, "tgt": target}).encode() + b"\n")
    return file, where


def prepare(out, file, share):
    command = [sys.executable, "-c", MEASURED, "prepare", str(out), "--train", str(file)]
    command += ["--max-broken-share", str(share), "--vocabulary-size", "500"]
    command += ["--vocabulary-sentences", "20000"]
    return subprocess.run(command, capture_output=True, text=True, timeout=1500)


@pytest.mark.timeout(1800)
def fault_one_line_in_a_hundred_is_broken(broken_file, tmp_path, figure):
    file, where = broken_file
    done = prepare(tmp_path / "out", file, 0.02)
    assert done.returncode == 0, done.stderr

    listed = [json.loads(line) for line in (tmp_path / "out/broken_lines.jsonl").open()]
    assert {row["line"]: True for row in listed}.keys() == where.keys()
    assert len(listed) == len(where)
    for row in listed:
        assert row["problem"].startswith(where[row["line"]].partition(" such")[0]), row
    report = json.loads((tmp_path / "out/report.json").read_text())
    counted = {kind: entry["lines"] for kind, entry in report["broken"]["train"].items()}
    assert Counter(counted.values()) == Counter(Counter(where.values()).values())
    assert report["read"]["train"] == LINES - len(where)
    peak = int(done.stdout.rpartition("peak ")[2]) / 1024
    figure(
        f"{LINES:,} lines, {len(where):,} broken in {len(BROKEN)} ways, each listed with its line "
        f"and why; {report['read']['train']:,} pairs read; at most {peak:,.0f} MiB"
    )


@pytest.mark.timeout(600)
@pytest.mark.parametrize("share", [0.0, 0.005])
def fault_more_are_broken_than_allowed(broken_file, tmp_path, figure, share):
    file, where = broken_file
    done = prepare(tmp_path / "out", file, share)
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    allowed = int(share * LINES)
    stopped = sorted(where)[allowed]
    if share:
        assert f"allows, which is {allowed:,} of the {LINES:,} of train" in last
        assert f"met by line {stopped}:" in last
        assert all(kind.partition(" such")[0] in last for kind in BROKEN)
    else:
        assert f"{file}, line {stopped}: " in last
    assert not list(tmp_path.iterdir())
    figure(f"{allowed:,} allowed: refused at line {stopped:,}, nothing written")


@pytest.mark.timeout(600)
def fault_memory_does_not_grow_with_the_lines(broken_file, figure):
    file, where = broken_file
    done = subprocess.run(
        [sys.executable, "-c", READING, str(file), str(LINES)],
        capture_output=True, text=True, timeout=500, check=True,
    )  # fmt: skip
    early, late, read, broken = map(int, done.stdout.split())
    assert (read, broken) == (LINES - len(where), len(where))
    assert late - early < 2**20, (early, late)
    figure(f"reading: {early / 2**20:.1f} MiB after a tenth, {late / 2**20:.1f} MiB after all")
