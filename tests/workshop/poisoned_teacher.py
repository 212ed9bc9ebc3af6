"""A sentence that has a word of its own, and a teacher that gives NaN where it reads that word."""

from __future__ import annotations

import json

import sentencepiece
import torch
import yaml

LINE = 77
"""Where the sentence stands, of 120."""


def with_one_marked_sentence(workshop, lines=(LINE,)):
    """A corpus with a character of their own in some sentences; the piece and the file."""
    recipe = yaml.safe_load(workshop.recipe.read_text())
    with open(recipe["dataset"]["train"][0]["path"], encoding="utf-8") as text:
        pairs = [json.loads(line) for line in text]
    for line in lines:
        pairs[line - 1]["src"] += " §"
    file = workshop.folder / "marked.jsonl"
    file.write_text("".join(json.dumps(pair, ensure_ascii=False) + "\n" for pair in pairs))
    model = sentencepiece.SentencePieceProcessor(model_file=recipe["tokenizer"]["path"])
    pieces = [set(model.encode(f"to German: {pair['src']}\n")) for pair in pairs]
    marked = set.intersection(*(pieces[line - 1] for line in lines))
    others = set().union(*(own for line, own in enumerate(pieces, 1) if line not in lines))
    return min(marked - others), file


def poisoned_teacher(workshop, piece):
    """The setting that makes a teacher of ``workshop`` give NaN wherever it has read ``piece``."""
    poisoned = workshop.folder / "poisoned"
    source = workshop.checkpoint("teacher", 8)
    for file in source.rglob("*.pt"):
        copy = poisoned / file.relative_to(source)
        copy.parent.mkdir(parents=True)
        state = torch.load(file, weights_only=True)
        state["decoder_frontend.embed.weight"][piece] = float("nan")
        torch.save(state, copy)
    return workshop.teacher("teacher", 8).replace(str(source), str(poisoned))
