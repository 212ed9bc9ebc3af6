"""From a training run's folder to translations and scores, on the command line."""

import io
import json
from importlib.util import find_spec

import pytest
import sacrebleu

from sekd_plugin.cli import main


@pytest.fixture
def trained(workshop):
    workshop.train("run", "regime.num_steps=16", "regime.checkpoint_every_n_steps=8")
    return workshop


def sekd(workshop, *arguments, expect=0):
    workshop.capture()
    code = main([str(argument) for argument in arguments])
    out, error = workshop.capture()
    assert code == expect, error
    return out if expect == 0 else error


def test_standard_input_is_translated_in_order_and_empty_lines_stay(trained, monkeypatch):
    lines = ["open the file", "", "close the small red window now", "menu", "  "]
    stdin = io.TextIOWrapper(io.BytesIO("\n".join(lines).encode() + b"\n"))
    monkeypatch.setattr("sys.stdin", stdin)
    whole = sekd(trained, "translate", "--model", trained.folder / "run").split("\n")[:-1]

    assert len(whole) == len(lines)
    assert whole[1] == "" and whole[4] == "" and whole[0]
    for number, line in enumerate(lines):
        file = trained.folder / f"{number}.txt"
        file.write_text(line + "\n")
        alone = sekd(
            trained, "translate", "--model", trained.folder / "run", "--input", file,
            "--batch-tokens", 1,
        )  # fmt: skip
        assert alone == whole[number] + "\n"


def test_an_output_file_is_written_whole_and_never_overwritten(trained):
    source, target = trained.folder / "source.txt", trained.folder / "target.txt"
    source.write_text("open the file\n")
    command = (
        "translate",
        "--model",
        trained.folder / "run",
        "--input",
        source,
        "--output",
        target,
    )
    sekd(trained, *command)
    written = target.read_text()
    assert written.endswith("\n") and written.count("\n") == 1
    assert "exists already" in sekd(trained, *command, expect=2)
    assert target.read_text() == written


def test_a_checkpoint_is_chosen_by_step_and_unknown_ones_are_refused(trained):
    source = trained.folder / "source.txt"
    source.write_text("open the file and close the window now\n")
    run = trained.folder / "run"
    last = sekd(trained, "translate", "--model", run, "--input", source)
    assert sekd(trained, "translate", "--model", f"{run}@step_16", "--input", source) == last
    sekd(trained, "translate", "--model", f"{run}@step_8", "--input", source)
    error = sekd(trained, "translate", "--model", f"{run}@step_9", "--input", source, expect=2)
    assert "no checkpoint 'step_9'" in error and "step_16, step_8" in error
    error = sekd(trained, "translate", "--model", f"{run}@best", "--input", source, expect=2)
    assert "no scored checkpoint" in error
    error = sekd(trained, "translate", "--model", trained.folder / "rum", expect=2)
    assert "did you mean 'run'?" in error
    (trained.folder / "empty").mkdir()
    error = sekd(trained, "translate", "--model", trained.folder / "empty", expect=2)
    assert "no config.yaml" in error


def test_an_exported_model_translates_as_the_run_it_came_from(workshop, shared_folder):
    workshop.train("run", "regime.export_hugging_face=true")
    source = workshop.folder / "source.txt"
    source.write_text("open the file\nclose the small window\n")
    run = workshop.folder / "run"
    ours = sekd(workshop, "translate", "--model", run, "--input", source)
    exported = sekd(
        workshop, "translate", "--model", run / "checkpoints/step_8/hg", "--input", source,
        "--tokenizer", shared_folder / "vocabulary.model", "--template", "to German: {source}\\n",
    )  # fmt: skip
    assert exported == ours


def test_systems_are_scored_and_compared_with_the_baseline(trained, shared_folder):
    test_set = shared_folder / "valid.jsonl"
    pairs = [json.loads(line) for line in test_set.read_text().splitlines()]
    gold = trained.folder / "gold.txt"
    gold.write_text("".join(pair["tgt"] + "\n" for pair in pairs))
    results = trained.folder / "results.json"

    out = sekd(
        trained, "evaluate", test_set, "--system", f"run={trained.folder / 'run'}",
        "--system", f"gold={gold}", "--baseline", "run", "--samples", 50, "--output", results,
        "--translations", trained.folder / "translations",
    )  # fmt: skip

    record = json.loads(results.read_text())
    run, perfect = record["systems"]
    assert perfect["scores"][0]["value"] == pytest.approx(100.0)
    assert perfect["comparisons"][0]["difference"] > 50
    kept = (trained.folder / "translations" / "run.txt").read_text().split("\n")[:-1]
    score = sacrebleu.corpus_bleu(kept, [[pair["tgt"] for pair in pairs]])
    assert run["scores"][0]["value"] == score.score
    assert f"{score.score:.2f}" in out and "tok:13a" in out and "paired bootstrap" in out


def test_translations_are_kept_and_used_again_only_for_the_same_model(trained, shared_folder):
    folder = trained.folder / "translations"
    command = (
        "evaluate", shared_folder / "valid.jsonl", "--system", f"run={trained.folder / 'run'}",
        "--translations", folder,
    )  # fmt: skip
    sekd(trained, *command)
    marked = (folder / "run.txt").read_text().replace("\n", " X\n")
    (folder / "run.txt").write_text(marked)
    sekd(trained, *command)
    assert (folder / "run.txt").read_text() == marked

    other = [*command[:3], f"run={trained.folder / 'run'}@step_8", *command[4:]]
    assert "translations of another model" in sekd(trained, *other, expect=2)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--system", "run"], "write NAME=PATH"),
        (["--system", "a=x", "--system", "a=y"], "named twice"),
        (["--system", "run=gone"], "gone is not a folder"),
        (["--system", "run=x", "--baseline", "rum"], "did you mean 'run'?"),
        (["--system", "run=x", "--beam-size", "0"], "1 or more"),
        (["--system", "run=x", "--device", "tpu9"], "is not a device"),
    ],
)
def test_mistakes_are_one_line(workshop, shared_folder, arguments, words):
    error = sekd(workshop, "evaluate", shared_folder / "valid.jsonl", *arguments, expect=2)
    assert words in error
    assert len(error.strip().splitlines()) == 1


def test_a_file_with_another_number_of_lines_is_refused_with_both(workshop, shared_folder):
    file = workshop.folder / "short.txt"
    file.write_text("one\ntwo\n")
    error = sekd(
        workshop, "evaluate", shared_folder / "valid.jsonl", "--system", f"a={file}", expect=2
    )
    assert f"{file}: has 2 lines, the test set 24 sentences" in error


@pytest.mark.skipif(find_spec("comet") is not None, reason="COMET is installed")
def test_comet_says_how_to_get_it(workshop, shared_folder):
    error = sekd(
        workshop, "evaluate", shared_folder / "valid.jsonl", "--system", "a=x", "--comet", expect=2
    )
    assert "pip install unbabel-comet" in error
