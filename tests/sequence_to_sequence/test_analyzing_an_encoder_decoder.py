"""`sekd analyze` measures encoder–decoder students as validation does."""

import json
import math

import numpy
import pytest
from tiny_encoder_decoder import teacher_of

from sekd_plugin.cli import main


@pytest.fixture
def distilled(pair_workshop, pair_teacher):
    """A workshop with a run that distilled a tiny NLLB."""
    steps = ("regime.num_steps=8", "regime.validate_every_n_steps=8")
    pair_workshop.train("kd", teacher_of(pair_teacher), "criterion.name=self_evolution_kd", *steps)
    return pair_workshop


def test_the_difficulties_are_those_that_the_run_validated(
    distilled, shared_folder, language_pieces
):
    out, run = distilled.folder / "analysis", distilled.folder / "kd"
    assert main(["analyze", str(out), "--run", str(run)]) == 0
    figures = json.loads((out / "analysis.json").read_text(encoding="utf-8"))
    number = [each["divergence"] for each in figures["columns"]].index("forward_kl")
    items = figures["shown"]["items"]
    values = [value for item in items for value in item["difficulty"][number]]
    recorded = json.loads((run / "difficulty" / "step_8.json").read_text())
    counts, _ = numpy.histogram(values, [*recorded["edges"], math.inf])
    assert counts.tolist() == recorded["counts"] and sum(counts) == figures["tokens"]

    pairs = [json.loads(line) for line in (shared_folder / "valid.jsonl").read_text().splitlines()]
    pieces = figures["shown"]["pieces"]
    for item, pair in zip(items, pairs, strict=True):
        *words, _ = [pieces[str(word)] for word in item["words"]]
        assert "".join(words).strip() == pair["tgt"], "neither the language nor the end is shown"
    beyond = {piece for piece in map(int, pieces) if piece >= language_pieces.vocab_info.size}
    assert beyond and all(pieces[str(piece)] == f"<{piece}>" for piece in beyond)


def test_a_file_is_measured_in_its_own_direction(distilled, shared_folder):
    run, valid = distilled.folder / "kd", shared_folder / "valid.jsonl"
    turned = (
        f"dataset.valid=[{{path: {valid}, source_field: tgt, target_field: src, "
        "source_language: deu_Latn, target_language: eng_Latn}]"
    )
    figures = {}
    for name, options in {"own": [], "like": ["--data", str(valid)]}.items():
        out = distilled.folder / name
        command = ["analyze", str(out), "--run", str(run), "--config", turned, *options]
        assert main([*command, "--sentences", "3", "--divergence", "forward_kl"]) == 0
        report = json.loads((out / "report.json").read_text(encoding="utf-8"))
        assert report["made_from"]["settings"]["languages"] == [["deu_Latn", "eng_Latn"]]
        figures[name] = json.loads((out / "analysis.json").read_text(encoding="utf-8"))
    assert figures["own"]["columns"] == figures["like"]["columns"]
