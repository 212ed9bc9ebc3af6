"""The page "Writing your own" is gone through as a reader would, with less data and fewer steps."""

import json
import os
import re
import shlex
import subprocess
import sys
import types
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import pytest
import yaml

import sekd_plugin.testing

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
FEW_PAIRS = {"train": 2500, "valid": 12, "test": 12}
STEPS = 4
FEW_EXAMPLES = 5
"""Of a check's fifty. Those that break a law come out the same."""
OWN_ENVIRONMENT = {"PYTHONPATH": "site", "COLUMNS": "100", "OMP_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Walk:
    """A reader's folder after every command of the page."""

    folder: Path
    printed: dict[str, str]
    """Command, as the page has it → what it printed."""

    def metrics(self, run, split):
        lines = (self.folder / run / "metrics" / f"{split}.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]


def shortened(recipe):
    """The recipe with a few small steps, reported and kept within them; the models stay."""
    content = yaml.safe_load(recipe)
    regime = content["regime"]
    regime.update(
        num_steps=STEPS,
        publish_metrics_every_n_steps=STEPS // 2,
        validate_every_n_steps=STEPS,
        checkpoint_every_n_steps=STEPS,
    )
    content["dataset"]["batch_tokens"] = 128
    content["common"] = {"metric_recorders": {"tensorboard": {"enabled": False}}}
    text = yaml.safe_dump(content, allow_unicode=True)
    return re.sub(r"/step_\d+/", f"/step_{STEPS}/", text)


def commands(page):
    """Every command of the page, in order."""
    for block in page.blocks:
        if block.language == "sh":
            yield from (line for line in block.text.splitlines() if line)
        if block.language == "console":
            yield from re.findall(r"^\$ (.*)$", block.text, re.M)


@pytest.fixture(scope="module")
def walk(executed, root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("reader")
    for title, text in executed.titled().items():
        if Path(title).suffix:
            file = folder / title
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(shortened(text) if file.suffix == ".yaml" else text, encoding="utf-8")
    corpus = folder / "recipes" / "corpus" / "en-de"
    corpus.mkdir(parents=True)
    for split, count in FEW_PAIRS.items():
        with (root / "recipes/corpus/en-de" / f"{split}.jsonl").open(encoding="utf-8") as lines:
            (corpus / f"{split}.jsonl").write_text("".join(islice(lines, count)), encoding="utf-8")

    typed = list(commands(executed))
    printed = {line: install(line, folder) for line in typed if line.startswith("pip ")}
    others = [line for line in typed if line.startswith(("sekd ", "pytest "))]
    done = subprocess.run(
        [sys.executable, HERE / "commands_in_one_process.py", str(FEW_EXAMPLES)],
        input=json.dumps([shlex.split(line) for line in others]),
        cwd=folder,
        env={**os.environ, **OWN_ENVIRONMENT},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    for line, (code, output) in zip(others, json.loads(done.stdout), strict=True):
        assert code == 0, f"{line}\n{output}"
        printed[line] = output
    return Walk(folder, printed)


def install(line, folder):
    """What ``pip install --editable`` installs, into a folder beside the environment."""
    words = shlex.split(line)
    assert words[:3] == ["pip", "install", "--editable"]
    options = ["--no-deps", "--no-build-isolation", "--target", "site", *words[3:]]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", *options],
        cwd=folder,
        env={**os.environ, "PIP_NO_INDEX": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def without_numbers(line):
    return re.sub(r"\d[\d.,]*", "N", line)


def test_it_prints_what_the_page_shows(executed, walk):
    for block in executed.blocks:
        if block.language != "console":
            continue
        for session in re.split(r"^\$ ", block.text, flags=re.M)[1:]:
            command, *shown = session.splitlines()
            real = [without_numbers(line) for line in walk.printed[command].splitlines()]
            place = 0
            for line in shown:
                if line in ("", "..."):
                    continue
                found = [i for i in range(place, len(real)) if without_numbers(line) in real[i]]
                assert found, f"{command} does not print this: {line}"
                place = found[0] + 1


def test_a_whole_listing_is_shown_to_the_letter(executed, walk):
    (block,) = [block for block in executed.blocks if "$ sekd list" in block.text]
    command, _, shown = block.text.removeprefix("$ ").partition("\n")
    assert walk.printed[command].strip() == shown.strip()


@pytest.mark.parametrize("run", ["vincze_le_cam", "forward_kl", "spread", "square_root"])
def test_each_training_reports_what_the_page_says_of_it(walk, run):
    first, *_, last = walk.metrics(f"runs/own/{run}", "valid")
    assert first["Loss"] == first["Difficulty"]  # every token is easy before a step is finished
    assert "Gamma" not in first and first["Hard Ratio"] == 0.0
    for reported in (*walk.metrics(f"runs/own/{run}", "train"), last):
        assert reported["Gamma"] > 0.0
        assert 0.0 <= reported["Hard Ratio"] <= 1.0
        if run != "forward_kl":
            assert 0.0 < reported["Loss"] <= reported["Difficulty"] < 1.0
        else:
            assert reported["Difficulty"] > 1.0
    assert (walk.folder / "runs/own" / run / "difficulty" / f"step_{STEPS}.json").is_file()


FAULTS = {
    "without masked_fill": lambda source: re.sub(r"^.*masked_fill.*\n", "", source, flags=re.M),
    "without 0.5 *": lambda source: source.replace("0.5 * ", ""),
}


@pytest.mark.parametrize("title", sorted(FAULTS))
def test_a_fault_is_reported_as_the_page_shows(executed, monkeypatch, title):
    files = executed.titled()
    good = files["my-divergences/src/my_divergences/vincze_le_cam.py"]
    faulty = FAULTS[title](good)
    assert faulty != good
    module = types.ModuleType("my_divergences.vincze_le_cam")
    exec(faulty, module.__dict__)
    monkeypatch.setitem(sys.modules, "my_divergences", types.ModuleType("my_divergences"))
    monkeypatch.setitem(sys.modules, "my_divergences.vincze_le_cam", module)
    few = partial(sekd_plugin.testing.check_divergence, max_examples=FEW_EXAMPLES)
    monkeypatch.setattr(sekd_plugin.testing, "check_divergence", few)
    tests = {}
    exec(files["my-divergences/tests/test_vincze_le_cam.py"], tests)

    if title == "without 0.5 *":
        tests["test_it_is_a_divergence"]()
    failing = {"without masked_fill": "test_it_is_a_divergence"}.get(
        title, "test_it_is_the_divergence_that_was_meant"
    )
    with pytest.raises(sekd_plugin.testing.LawBrokenError) as broken:
        tests[failing]()
    assert str(broken.value) == files[title].rstrip("\n")
