"""Score one or several systems on a test set, with significance against a baseline.

  sekd evaluate test.jsonl --system student=runs/student --system kd=runs/kd --baseline student
  sekd evaluate test.jsonl --system google=google.txt --output scores.json

A system is a training run's folder, which is then translated with, or a file with one
translation a line.
"""

from __future__ import annotations

import hashlib
import json
from argparse import ArgumentParser, Namespace
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sekd_plugin.checks import at_least
from sekd_plugin.commands.translate import (
    add_decoding_arguments,
    decode_lines,
    decoding_options,
    write_whole,
)
from sekd_plugin.corpus import SentencePair, read_pairs
from sekd_plugin.errors import DataError, SekdError, did_you_mean
from sekd_plugin.evaluation.comet import comet_score, require_comet
from sekd_plugin.evaluation.scores import Score, corpus_scores
from sekd_plugin.evaluation.significance import METRICS, paired_bootstrap
from sekd_plugin.evaluation.table import SystemResult, score_table
from sekd_plugin.progress import StreamProgress
from sekd_plugin.toolkits.fairseq2.translator import DecodingOptions, load_translator


def add_arguments(parser: ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("test", type=Path, metavar="TEST_FILE", help="the test set")
    parser.add_argument("--target-file", type=Path, help="its references, for plain text")
    parser.add_argument("--source-field", default="src", help="default: src")
    parser.add_argument("--target-field", default="tgt", help="default: tgt")
    parser.add_argument(
        "--system",
        action="append",
        required=True,
        metavar="NAME=PATH",
        help="a run's folder (with @step_N, @best, @last) or a file of translations; repeatable",
    )
    parser.add_argument("--baseline", metavar="NAME", help="compare the others with this system")
    parser.add_argument("--samples", type=int, default=1000, help="bootstrap samples")
    parser.add_argument("--seed", type=int, default=12345, help="of the bootstrap")
    parser.add_argument("--sentences", type=int, help="only the first so many sentences")
    parser.add_argument("--comet", action="store_true", help="also COMET, if it is installed")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the results as JSON")
    parser.add_argument(
        "--translations", type=Path, metavar="FOLDER", help="keep the translations here"
    )
    add_decoding_arguments(parser)


def run(args: Namespace) -> int:
    """Translate where need be, score, compare, print."""
    systems = _systems(args.system)
    if args.baseline is not None and args.baseline not in systems:
        raise SekdError(
            f"--baseline: '{args.baseline}' is not a system; {did_you_mean(args.baseline, systems)}"
        )
    at_least("--samples", args.samples, 1)
    options = decoding_options(args)
    if args.output is not None and args.output.exists():
        raise SekdError(f"{args.output} exists already; name another file, or remove it first")
    if args.comet:
        require_comet()
    pairs = _test_set(args)
    outputs = {
        name: _translations(name, path, pairs, options, args) for name, path in systems.items()
    }
    references = [pair.target for pair in pairs]
    results = []
    for name, hypotheses in outputs.items():
        scores = corpus_scores(hypotheses, references)
        if args.comet:
            scores.append(_comet(pairs, hypotheses))
        comparisons = []
        if args.baseline is not None and name != args.baseline:
            comparisons = [
                paired_bootstrap(
                    hypotheses,
                    outputs[args.baseline],
                    references,
                    metric=metric,
                    num_samples=args.samples,
                    seed=args.seed,
                )
                for metric in METRICS
            ]
        results.append(SystemResult(name=name, scores=scores, comparisons=comparisons))
    print(score_table(results, args.baseline))
    for score in results[0].scores:
        print(f"{score.metric}: {score.signature}")
    if args.baseline is not None:
        print(
            f"p: paired bootstrap against {args.baseline}, {args.samples} samples, "
            f"seed {args.seed}; * is p < 0.05"
        )
    if args.output is not None:
        write_whole(
            args.output, json.dumps(_record(args, pairs, systems, results), indent=2) + "\n"
        )
    return 0


def _systems(arguments: list[str]) -> dict[str, str]:
    systems: dict[str, str] = {}
    for argument in arguments:
        name, equals, path = argument.partition("=")
        if not (name and equals and path):
            raise SekdError(f"--system: '{argument}' is not allowed; write NAME=PATH")
        if name in systems:
            raise SekdError(f"--system: '{name}' is named twice")
        systems[name] = path
    return systems


def _test_set(args: Namespace) -> list[SentencePair]:
    if args.sentences is not None:
        at_least("--sentences", args.sentences, 1)
    pairs = list(
        read_pairs(
            args.test,
            target_path=args.target_file,
            source_field=args.source_field,
            target_field=args.target_field,
        )
    )
    return pairs if args.sentences is None else pairs[: args.sentences]


def _translations(
    name: str, path: str, pairs: list[SentencePair], options: DecodingOptions, args: Namespace
) -> list[str]:
    file = Path(path)
    if file.is_file():
        lines = decode_lines(file, file.read_bytes())
        if args.sentences is not None:
            lines = lines[: args.sentences]
        if len(lines) != len(pairs):
            raise DataError(file, f"has {len(lines)} lines, the test set {len(pairs)} sentences")
        return lines
    translator = load_translator(path, device=args.device)
    sources = [pair.source for pair in pairs]
    if args.translations is None:
        return translator.translate(sources, options, StreamProgress())
    made_from = _fingerprint(translator.checkpoint, sources, options)
    kept = args.translations / f"{name}.txt"
    record = args.translations / f"{name}.json"
    if kept.is_file() and record.is_file():
        if json.loads(record.read_text(encoding="utf-8")) == made_from:
            return decode_lines(kept, kept.read_bytes())
        raise SekdError(
            f"{kept} holds translations of another model, test set or search; "
            "name another folder, or remove it first"
        )
    translations = translator.translate(sources, options, StreamProgress())
    write_whole(kept, "".join(f"{line}\n" for line in translations))
    write_whole(record, json.dumps(made_from, indent=2) + "\n")
    return translations


def _fingerprint(checkpoint: Path, sources: list[str], options: DecodingOptions) -> dict[str, Any]:
    """What translations follow from: the weights, the sentences, the search."""
    weights = hashlib.sha256()
    for file in sorted(checkpoint.rglob("*")):
        if file.is_file():
            with file.open("rb") as stream:
                weights.update(hashlib.file_digest(stream, "sha256").digest())
    return {
        "weights": weights.hexdigest(),
        "sources": hashlib.sha256("\n".join(sources).encode()).hexdigest(),
        "search": {
            "beam_size": options.beam_size,
            "length_penalty": options.length_penalty,
            "max_target_tokens": options.max_target_tokens,
        },
    }


def _comet(pairs: list[SentencePair], hypotheses: list[str]) -> Score:
    value = comet_score(
        [pair.source for pair in pairs], hypotheses, [pair.target for pair in pairs]
    )
    return Score(metric="COMET", value=value, signature="wmt22-comet-da", higher_is_better=True)


def _record(
    args: Namespace,
    pairs: list[SentencePair],
    systems: dict[str, str],
    results: list[SystemResult],
) -> dict[str, Any]:
    return {
        "test_set": str(args.test),
        "sentences": len(pairs),
        "baseline": args.baseline,
        "bootstrap": {"samples": args.samples, "seed": args.seed},
        "systems": [
            {
                "name": result.name,
                "path": systems[result.name],
                "scores": [asdict(score) for score in result.scores],
                "comparisons": [asdict(comparison) for comparison in result.comparisons],
            }
            for result in results
        ],
    }
