"""What a teacher cache costs and changes: figures from a finished demo.

For each number of words: bytes a token, caching speed, the student's step time and memory, its
difficulty before training and its BLEU after, beside those with the live teacher.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
DEMO = Path(os.environ.get("DEMO") or ROOT / "runs" / "demo").resolve()
OUT = Path(os.environ.get("OUT") or ROOT / "runs" / "teacher_cache").resolve()
RECIPE = ROOT / "recipes" / "demo" / "self_evolution_kd.yaml"
WORDS = (8, 32, 128)
_WARM_UP_REPORTS = 2


def main() -> int:
    """Measure what was not measured before, and print the table."""
    if not (DEMO / "report.html").is_file():
        print(f"{DEMO} holds no finished demo; make demo makes one, or name it with DEMO=…")
        return 2
    OUT.mkdir(parents=True, exist_ok=True)
    rows: dict[str, dict[str, Any]] = {"live": train("live", f"teacher.path={model('teacher')}")}
    for number in WORDS:
        folder = OUT / f"cache_{number}"
        made = cache(folder, number)
        path = f"teacher_cache={{path: {folder}}}"
        rows[f"top {number}"] = {**made, **train(f"top_{number}", "teacher=null", path)}
    scores = evaluate()
    for name, score in scores.items():
        rows[name.replace("_", " ")].update(score)
    result = {"date": time.strftime("%Y-%m-%d"), "cores": os.cpu_count(), "rows": rows}
    (OUT / "figures.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    show(rows)
    return 0


def model(run: str) -> Path:
    """The last checkpoint of one of the demo's trainings."""
    steps = (DEMO / run / "checkpoints").glob("step_*")
    return max(steps, key=lambda step: int(step.name.split("_")[1])) / "model"


def data() -> list[str]:
    """The settings that the demo adds to its recipe."""
    corpus = DEMO / "corpus"
    return [
        f"tokenizer.path={corpus / 'vocabulary.model'}",
        f"dataset.train=[{{path: {corpus / 'train.jsonl'}}}]",
        f"dataset.valid=[{{path: {corpus / 'valid.jsonl'}}}]",
        f"model.path={model('student')}",
    ]


def cache(folder: Path, words: int) -> dict[str, Any]:
    """Make a cache; its speed and size."""
    said = OUT / f"cache_{words}.txt"
    if not said.is_file():
        command = ["cache-teacher", str(folder), "--top-k", str(words)]
        command += ["--config-file", str(RECIPE), "--config", *data()]
        command += [f"teacher.path={model('teacher')}"]
        text, _ = run(command)
        said.write_text(text, encoding="utf-8")
    text = said.read_text(encoding="utf-8")
    index = json.loads((folder / "index.json").read_text(encoding="utf-8"))["shards"]
    tokens = sum(shard["num_tokens"] for shard in index)
    return {
        "tokens_per_second": number(r"([\d,]+) tokens/s", text),
        "bytes_per_token": sum(shard["num_bytes"] for shard in index) / tokens,
        "not_listed": sum(shard["tail"] for shard in index) / tokens,
        "tokens": tokens,
    }


def train(name: str, *settings: str) -> dict[str, Any]:
    """Train as the demo does; step time, memory, and the difficulty before the first step."""
    folder, record = OUT / name, OUT / f"{name}.json"
    if not record.is_file():
        command = ["train", str(folder), "--config-file", str(RECIPE), "--config"]
        _, peak = run([*command, *data(), *settings])
        record.write_text(json.dumps({"peak_bytes": peak}), encoding="utf-8")
    steps = lines(folder / "metrics" / "train.jsonl")
    lapses = [line["Lapse Time"] for line in steps][_WARM_UP_REPORTS:]
    (valid,) = [path for path in (folder / "metrics").glob("valid*.jsonl")]
    before = lines(valid)[0]
    return {
        **json.loads(record.read_text(encoding="utf-8")),
        "step_ms": 1000 * statistics.median(lapses) / (steps[1]["Step"] - steps[0]["Step"]),
        "difficulty": before["Difficulty"],
        "difficulty_p90": before["Difficulty p90"],
    }


def evaluate() -> dict[str, dict[str, Any]]:
    """BLEU of each student on the test set, and how far it is from the live teacher's."""
    output = OUT / "scores.json"
    if not output.is_file():
        systems = ["live", *(f"top_{number}" for number in WORDS)]
        named = [word for name in systems for word in ("--system", f"{name}={OUT / name}")]
        command = ["evaluate", str(DEMO / "corpus" / "test.jsonl"), *named, "--baseline", "live"]
        run([*command, "--output", str(output)])
    found = {}
    for system in json.loads(output.read_text(encoding="utf-8"))["systems"]:
        (bleu,) = (score["value"] for score in system["scores"] if score["metric"] == "BLEU")
        against = [each for each in system.get("comparisons", []) if each["metric"] == "BLEU"]
        found[system["name"]] = {"bleu": bleu, "against_live": against[0] if against else None}
    return found


def run(command: list[str]) -> tuple[str, int]:
    """Run a sekd command; what it printed, and the most memory it held, in bytes."""
    print(f"sekd {' '.join(command[:2])} …", flush=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "sekd_plugin", *command], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    text = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"sekd {command[0]} ended with {process.returncode}")
    return text, usage.ru_maxrss * 1024


def lines(file: Path) -> list[dict[str, Any]]:
    """The lines of a metrics file."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def number(pattern: str, text: str) -> float:
    """The number that a pattern finds."""
    found = re.search(pattern, text)
    return float(found[1].replace(",", "")) if found else float("nan")


def show(rows: dict[str, dict[str, Any]]) -> None:
    """The table, in Markdown."""
    live = rows["live"]
    print(
        "| teacher | bytes/token | not listed | caching, tokens/s | step, ms | peak memory, MiB "
        "| difficulty before (live − cached) | BLEU (− live, 95 %, p) |\n|---|" + "---:|" * 7
    )
    for name, row in rows.items():
        cells = ["–", "–", "–"]
        if "tokens" in row:
            cells[0] = f"{row['bytes_per_token']:.0f}"
            cells[1] = f"{100 * row['not_listed']:.1f} %"
            cells[2] = f"{row['tokens_per_second']:,.0f}"
        lower = live["difficulty"] - row["difficulty"]
        cells += [
            f"{row['step_ms']:.0f}",
            f"{row['peak_bytes'] / 2**20:.0f}",
            f"{row['difficulty']:.4f} ({lower:.4f}, {100 * lower / live['difficulty']:.2f} %)",
            f"{row['bleu']:.2f}",
        ]
        if against := row.get("against_live"):
            cells[-1] += (
                f" ({against['difference']:+.2f}, {against['low']:+.2f} to {against['high']:+.2f}, "
                f"p = {against['p_value']:.2f})"
            )
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    sys.exit(main())
