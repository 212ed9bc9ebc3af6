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
