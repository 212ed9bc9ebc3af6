"""From a training run's folder to translations and scores, on the command line."""

import io
import json
import os
import sys

import pytest
import sacrebleu
from sentencepiece.sentencepiece_model_pb2 import ModelProto

from sekd_plugin.cli import main
from sekd_plugin.errors import SekdError
from sekd_plugin.toolkits.fairseq2.checkpoint_choice import chosen_checkpoint, run_and_choice
from sekd_plugin.toolkits.fairseq2.translator import Translator


@pytest.fixture
def trained(workshop):
    workshop.train("run", "regime.num_steps=16", "regime.checkpoint_every_n_steps=8")
    return workshop


def read_json_lines(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


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


def test_a_field_of_a_corpus_is_translated_into_pairs_to_train_on(trained, shared_folder):
    pairs = read_json_lines(shared_folder / "valid.jsonl")[:3]
    turned = [{"en": pair["src"], "de": pair["tgt"]} for pair in pairs]
    corpus, lines = trained.folder / "corpus.jsonl", trained.folder / "lines.txt"
    corpus.write_text("".join(json.dumps(pair) + "\n" for pair in turned), encoding="utf-8")
    lines.write_text("".join(pair["de"] + "\n" for pair in turned), encoding="utf-8")
    translate = ("translate", "--model", trained.folder / "run", "--input")
    fields = ("--source-field", "de", "--target-field", "en")

    made = trained.folder / "made.jsonl"
    sekd(trained, *translate, corpus, *fields, "--output", made)
    *said, last = sekd(trained, *translate, lines).split("\n")
    assert last == ""
    assert read_json_lines(made) == [
        {"de": pair["de"], "en": translation}
        for pair, translation in zip(turned, said, strict=True)
    ]
    error = sekd(trained, *translate, corpus, "--source-field", "fr", expect=2)
    assert "corpus.jsonl" in error and "fr" in error


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


def test_an_exported_model_translates_as_the_run_it_came_from(exported, shared_folder):
    source = exported.folder / "source.txt"
    source.write_text("open the file\nclose the small window\n")
    run = exported.folder / "exported"
    ours = sekd(exported, "translate", "--model", run, "--input", source)
    theirs = sekd(
        exported, "translate", "--model", run / "checkpoints/step_8/hg", "--input", source,
        "--tokenizer", shared_folder / "vocabulary.model", "--template", "to German: {source}\\n",
    )  # fmt: skip
    assert theirs == ours


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
        (["--system", "../run=x"], "the name '../run' is not allowed"),
        (["--system", "run=x", "--seed", "-1"], "0 or more"),
        (["--system", "run=x", "--length-penalty", "nan"], "0 <= --length-penalty <= 10"),
        (["--system", "run=x", "--sentences", "0"], "1 or more"),
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


@pytest.fixture
def comet(workshop, monkeypatch):
    """A stand-in for comet-score with its arguments and its JSON; it scores by length."""
    folder = workshop.folder / "bin"
    folder.mkdir()
    command = folder / "comet-score"
    command.write_text(
        f"""#!{sys.executable}
import argparse, json, sys
parser = argparse.ArgumentParser()
parser.add_argument("-s", "--sources")
parser.add_argument("-t", "--translations", nargs="+")
parser.add_argument("-r", "--references")
parser.add_argument("--model")
parser.add_argument("--gpus", type=int, default=1)
parser.add_argument("--quiet", action="store_true")
parser.add_argument("--only_system", action="store_true")
parser.add_argument("--to_json")
options = parser.parse_args()
read = lambda name: open(name, encoding="utf-8").read().splitlines()
sources, references = read(options.sources), read(options.references)
scores = {{
    file: [
        {{"src": s, "mt": t, "ref": r, "COMET": len(t) / len(r)}}
        for s, t, r in zip(sources, read(file), references, strict=True)
    ]
    for file in options.translations
}}
json.dump(scores, open(options.to_json, "w"))
""",
        encoding="utf-8",
    )
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    return command


def test_comet_is_asked_where_it_is_installed(workshop, shared_folder, comet):
    pairs = read_json_lines(shared_folder / "valid.jsonl")
    gold, twice = workshop.folder / "gold.txt", workshop.folder / "twice.txt"
    gold.write_text("".join(pair["tgt"] + "\n" for pair in pairs))
    twice.write_text("".join(pair["tgt"] * 2 + "\n" for pair in pairs))
    results = workshop.folder / "results.json"
    out = sekd(
        workshop, "evaluate", shared_folder / "valid.jsonl", "--system", f"a={gold}",
        "--system", f"b={twice}", "--comet", "--output", results,
    )  # fmt: skip
    scores = [
        next(score for score in system["scores"] if score["metric"] == "COMET")
        for system in json.loads(results.read_text())["systems"]
    ]
    assert [score["value"] for score in scores] == [1.0, 2.0]
    assert "wmt22-comet-da" in scores[0]["signature"] and "COMET" in out.splitlines()[0]


def test_a_failure_of_comet_is_one_line(workshop, shared_folder, comet):
    comet.write_text("#!/bin/sh\necho some trace >&2\necho 'no such model' >&2\nexit 3\n")
    gold = workshop.folder / "gold.txt"
    gold.write_text("x\n" * 24)
    error = sekd(
        workshop, "evaluate", shared_folder / "valid.jsonl", "--system", f"a={gold}", "--comet",
        expect=2,
    )  # fmt: skip
    assert "failed with exit code 3: no such model" in error
    assert len(error.strip().splitlines()) == 1


def test_comet_says_how_to_get_it(workshop, shared_folder, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    error = sekd(
        workshop, "evaluate", shared_folder / "valid.jsonl", "--system", "a=x", "--comet", expect=2
    )
    assert "pipx install unbabel-comet" in error
    assert len(error.strip().splitlines()) == 1


def test_translations_are_kept_beside_the_results(trained, shared_folder):
    results = trained.folder / "out" / "results.json"
    command = (
        "evaluate", shared_folder / "valid.jsonl", "--system", f"run={trained.folder / 'run'}",
        "--output", results,
    )  # fmt: skip
    first = sekd(trained, *command)
    kept = trained.folder / "out" / "results.translations" / "run.txt"
    assert len(kept.read_text().splitlines()) == 24
    written = json.loads(results.read_text())
    made_from = written["systems"][0]["made_from"]
    assert made_from["checkpoint"].endswith("step_16/model")
    assert made_from["search"]["beam_size"] == 1 and len(made_from["weights"]) == 64

    assert "exists already" in sekd(trained, *command, expect=2)
    results.unlink()
    marked = kept.read_text()
    kept.touch()
    before = kept.stat().st_mtime_ns
    assert sekd(trained, *command) == first
    assert kept.stat().st_mtime_ns == before and kept.read_text() == marked
    assert json.loads(results.read_text()) == written


def test_a_record_without_its_translations_is_what_an_interrupted_run_left(trained, shared_folder):
    kept = trained.folder / "kept"
    command = (
        "evaluate", shared_folder / "valid.jsonl", "--system", f"run={trained.folder / 'run'}",
        "--translations", kept,
    )  # fmt: skip
    first = sekd(trained, *command)
    translations = (kept / "run.txt").read_text()
    (kept / "run.txt").unlink()
    (kept / "run.json").write_text("{}")

    assert sekd(trained, *command) == first
    assert (kept / "run.txt").read_text() == translations
    assert len(json.loads((kept / "run.json").read_text())["weights"]) == 64


@pytest.mark.parametrize("change", ["search", "sentences", "prompt", "vocabulary", "record"])
def test_kept_translations_are_not_used_where_something_changed(trained, shared_folder, change):
    run = trained.folder / "run"
    results, kept = trained.folder / "results.json", trained.folder / "kept"
    valid = trained.folder / "valid.jsonl"
    valid.write_bytes((shared_folder / "valid.jsonl").read_bytes())
    command = [
        "evaluate", valid, "--system", f"run={run}", "--output", results, "--translations", kept,
    ]  # fmt: skip
    sekd(trained, *command)
    results.unlink()
    config = run / "config.yaml"
    if change == "search":
        command += ["--beam-size", 2]
    elif change == "sentences":
        valid.write_text(valid.read_text().replace("open", "close"))
    elif change == "prompt":
        config.write_text(config.read_text().replace("to German", "to Czech"))
    elif change == "vocabulary":
        other = trained.folder / "vocabulary.model"
        model = ModelProto()
        model.ParseFromString((shared_folder / "vocabulary.model").read_bytes())
        model.pieces[40].score -= 1.0
        other.write_bytes(model.SerializeToString())
        old = str(shared_folder / "vocabulary.model")
        config.write_text(config.read_text().replace(old, str(other)))
    else:
        (kept / "run.json").unlink()
    assert "another model, test set or search" in sekd(trained, *command, expect=2)
    assert not results.exists()


def test_nothing_is_translated_before_all_systems_are_there(trained, shared_folder):
    kept = trained.folder / "kept"
    error = sekd(
        trained, "evaluate", shared_folder / "valid.jsonl", "--translations", kept,
        "--system", f"run={trained.folder / 'run'}", "--system", f"b={trained.folder / 'rum'}",
        expect=2,
    )  # fmt: skip
    assert "rum is not a folder; did you mean 'run'?" in error
    assert not kept.exists()


def test_the_best_checkpoint_is_the_one_with_the_best_validation_score(workshop):
    workshop.train(
        "run", "regime.num_steps=24", "regime.checkpoint_every_n_steps=8",
        "regime.validate_every_n_steps=8", "regime.score_metric=loss",
    )  # fmt: skip
    run = workshop.folder / "run"
    losses = {line["Step"]: line["Loss"] for line in workshop.metrics("run", "valid")}
    best = min(losses, key=losses.get)
    assert run_and_choice(f"{run}@best") == (run, "best")
    assert chosen_checkpoint(run, "best").parent.name == f"step_{best}"
    (run / "checkpoints/scores" / "step_8.txt").write_text("1e9\n")
    assert chosen_checkpoint(run, "best").parent.name == "step_8"
    (run / "checkpoints/scores" / "step_8.txt").write_text("high\n")
    with pytest.raises(SekdError, match=r"step_8.txt holds no number"):
        chosen_checkpoint(run, "best")


def test_a_folder_may_have_an_at_sign_in_its_name(trained):
    moved = trained.folder / "me@home"
    moved.mkdir()
    (trained.folder / "run").rename(moved / "run@2")
    assert run_and_choice(f"{moved}/run@2") == (moved / "run@2", "last")
    assert run_and_choice(f"{moved}/run@2@step_8") == (moved / "run@2", "step_8")
    assert run_and_choice(f"{moved}/run") == (moved / "run", "last")
    source = trained.folder / "source.txt"
    source.write_text("open the file\n")
    sekd(trained, "translate", "--model", moved / "run@2", "--input", source)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("truncate", "step_16/model cannot be loaded"),
        ("no config", "config.yaml: tokenizer.path is not set; is it the record of a training run"),
        ("no shape", "model.yaml: does not say of what shape the model is"),
        ("other shape", "step_16/model cannot be loaded"),
        ("no vocabulary", "gone.model, seen from"),
        ("other vocabulary", "the model has 300 words, the tokenizer 4"),
    ],
)
def test_a_damaged_run_is_one_line(trained, shared_folder, damage, words):
    run = trained.folder / "run"
    config, shape = run / "config.yaml", run / "checkpoints" / "model.yaml"
    vocabulary = str(shared_folder / "vocabulary.model")
    if damage == "truncate":
        (weights,) = (run / "checkpoints" / "step_16" / "model").rglob("*.pt")
        weights.write_bytes(weights.read_bytes()[:1000])
    elif damage == "no config":
        config.write_text("a: 1\n")
    elif damage == "no shape":
        shape.unlink()
    elif damage == "other shape":
        shape.write_text(shape.read_text().replace("model_dim: 16", "model_dim: 32"))
    elif damage == "no vocabulary":
        config.write_text(config.read_text().replace(vocabulary, "gone.model"))
    else:
        model = ModelProto()
        model.ParseFromString((shared_folder / "vocabulary.model").read_bytes())
        for number in range(150):
            model.pieces.add(piece=f"extra{number}", score=-99.0)
        larger = trained.folder / "larger.model"
        larger.write_bytes(model.SerializeToString())
        config.write_text(config.read_text().replace(vocabulary, str(larger)))
    source = trained.folder / "source.txt"
    source.write_text("open the file\n")
    error = sekd(trained, "translate", "--model", run, "--input", source, expect=2)
    assert words in error
    assert len(error.strip().splitlines()) == 1


def test_an_exported_model_may_be_moved(workshop, shared_folder):
    workshop.train(
        "run",
        "regime.export_hugging_face=true",
        "model.config_overrides.tied_embeddings=true",
        "model.config_overrides.shard_embed_dim=false",
    )
    source = workshop.folder / "source.txt"
    source.write_text("open the file\nclose the small window\n")
    run, moved = workshop.folder / "run", workshop.folder / "moved"
    ours = sekd(workshop, "translate", "--model", run, "--input", source)
    (run / "checkpoints/step_8/hg").rename(moved)
    command = ("translate", "--model", moved, "--input", source)
    assert "needs both --tokenizer and --template" in sekd(workshop, *command, expect=2)
    parts = (
        "--tokenizer",
        shared_folder / "vocabulary.model",
        "--template",
        "to German: {source}\\n",
    )
    assert sekd(workshop, *command, *parts) == ours

    config = json.loads((moved / "config.json").read_text())
    (moved / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 1e-6}))
    assert "rms_norm_eps is 1e-06" in sekd(workshop, *command, *parts, expect=2)
    (moved / "config.json").write_text(json.dumps(config | {"model_type": "gpt2"}))
    assert "model_type is 'gpt2'" in sekd(workshop, *command, *parts, expect=2)


@pytest.mark.parametrize("place", ["source.txt/below.txt", "/dev/null/x.txt", "folder"])
def test_an_output_that_cannot_be_written_is_refused_before_the_work(trained, place):
    source = trained.folder / "source.txt"
    source.write_text("open the file\n")
    (trained.folder / "folder").mkdir()
    error = sekd(
        trained, "translate", "--model", trained.folder / "run", "--input", source,
        "--output", trained.folder / place, expect=2,
    )  # fmt: skip
    assert "cannot be written" in error or "exists already" in error
    assert len(error.strip().splitlines()) == 1 and "sentences" not in error


def test_output_is_utf_8_whatever_the_terminals_encoding(trained, monkeypatch):
    source = trained.folder / "source.txt"
    source.write_text("open the file\n")
    written = io.BytesIO()
    monkeypatch.setattr(Translator, "translate", lambda *_: ["öffne die Datei – jetzt"])
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(written, encoding="ascii"))
    assert main(["translate", "--model", str(trained.folder / "run"), "--input", str(source)]) == 0
    assert written.getvalue().decode("utf-8") == "öffne die Datei – jetzt\n"
