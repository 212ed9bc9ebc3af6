"""Score one or several systems on a test set, with significance against a baseline.

  sekd evaluate test.jsonl --system student=runs/student --system kd=runs/kd --baseline student
  sekd evaluate test.jsonl --system google=google.txt --output scores.json

A system is a training run's folder, which is then translated with, or a file with one
translation a line.
"""

from __future__ import annotations

import json
import re
from argparse import ArgumentParser, Namespace
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

from sekd_plugin.checks import at_least
from sekd_plugin.commands.translate import (
    add_decoding_arguments,
    add_pair_arguments,
    decode_lines,
    decoding_options,
    pair_settings,
)
from sekd_plugin.corpus import SentencePair, read_pairs
from sekd_plugin.errors import DataError, SekdError, did_you_mean
from sekd_plugin.evaluation.comet import COMET_MODEL, comet_scores, find_comet
from sekd_plugin.evaluation.scores import Score, corpus_scores
from sekd_plugin.evaluation.significance import Comparison, compare_systems
from sekd_plugin.evaluation.table import SystemResult, score_table
from sekd_plugin.new_file import check_new_file, write_new_file
from sekd_plugin.progress import StreamProgress
from sekd_plugin.toolkits.fairseq2.checkpoint_choice import chosen_checkpoint, run_and_choice
from sekd_plugin.toolkits.fairseq2.device import chosen_device
from sekd_plugin.toolkits.fairseq2.kept_translations import origin, translate_or_reuse
from sekd_plugin.toolkits.fairseq2.loading import load_translator
from sekd_plugin.toolkits.fairseq2.translator import DecodingOptions


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
        "--translations",
        type=Path,
        metavar="FOLDER",
        help="keep the translations here, and use them again if nothing has changed "
        "(default: RESULTS.translations beside --output RESULTS.json)",
    )
    add_pair_arguments(
        parser, "the prompt, where a run was trained with several, or other than its own"
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
    at_least("--seed", args.seed, 0)
    if args.sentences is not None:
        at_least("--sentences", args.sentences, 1)
    options = decoding_options(args)
    chosen_device(args.device)
    if args.output is not None:
        check_new_file(args.output)
    if args.comet:
        find_comet()
    every_pair = _test_set(args)
    ready = _given_translations(systems, len(every_pair))
    pairs = every_pair[: args.sentences]
    outputs: dict[str, list[str]] = {}
    origins: dict[str, dict[str, Any]] = {}
    for name, path in systems.items():
        if name in ready:
            outputs[name] = ready[name][: args.sentences]
            origins[name] = {"translations": sha256("\n".join(ready[name]).encode()).hexdigest()}
        else:
            outputs[name], origins[name] = _translations(name, path, pairs, options, args)
    results = _results(outputs, pairs, args)
    print(score_table(results, args.baseline))
    for score in results[0].scores:
        print(f"{score.metric}: {score.signature}")
    if args.baseline is not None:
        print(
            f"p: paired bootstrap against {args.baseline}, {args.samples} samples, "
            f"seed {args.seed}; * is p < 0.05"
        )
    if args.output is not None:
        record = _record(args, pairs, results, systems, origins)
        write_new_file(args.output, json.dumps(record, indent=2) + "\n")
    return 0


def _systems(arguments: list[str]) -> dict[str, str]:
    systems: dict[str, str] = {}
    for argument in arguments:
        name, equals, path = argument.partition("=")
        if not (name and equals and path):
            raise SekdError(f"--system: '{argument}' is not allowed; write NAME=PATH")
        if not re.fullmatch(r"[\w.+-]*\w[\w.+-]*", name):
            raise SekdError(
                f"--system: the name '{name}' is not allowed; it takes letters, digits, and any "
                "of . + - _"
            )
        if name in systems:
            raise SekdError(f"--system: '{name}' is named twice")
        systems[name] = path
    return systems


def _test_set(args: Namespace) -> list[SentencePair]:
    """The whole test set, whatever ``--sentences`` says."""
    return list(
        read_pairs(
            args.test,
            target_path=args.target_file,
            source_field=args.source_field,
            target_field=args.target_field,
        )
    )


def _given_translations(systems: dict[str, str], num_sentences: int) -> dict[str, list[str]]:
    """The translations of the systems that are files; the other systems must be runs.

    All are looked at before the first is translated with, which may take long.
    """
    given = {}
    for name, path in systems.items():
        file = Path(path)
        if not file.is_file():
            chosen_checkpoint(*run_and_choice(path))
            continue
        lines = decode_lines(file, file.read_bytes())
        if len(lines) != num_sentences:
            raise DataError(file, f"has {len(lines)} lines, the test set {num_sentences} sentences")
        given[name] = lines
    return given


def _translations(
    name: str, path: str, pairs: list[SentencePair], options: DecodingOptions, args: Namespace
) -> tuple[list[str], dict[str, Any]]:
    """A run's translations, and what they follow from."""
    translator = load_translator(path, settings=pair_settings(args), device=args.device)
    sources = [pair.source for pair in pairs]
    folder = args.translations
    if folder is None and args.output is not None:
        folder = args.output.with_suffix(".translations")
    made_from = {
        "checkpoint": str(translator.checkpoint),
        **origin(translator, sources, options),
    }
    if folder is None:
        return translator.translate(sources, options, StreamProgress()), made_from
    return translate_or_reuse(
        translator, sources, options, folder=folder, name=name, progress=StreamProgress()
    ), made_from


def _results(
    outputs: dict[str, list[str]], pairs: list[SentencePair], args: Namespace
) -> list[SystemResult]:
    references = [pair.target for pair in pairs]
    learnt = {}
    if args.comet:
        learnt = comet_scores([pair.source for pair in pairs], outputs, references)
    comparisons: dict[str, list[Comparison]] = {}
    if args.baseline is not None:
        comparisons = compare_systems(
            outputs, references, baseline=args.baseline, num_samples=args.samples, seed=args.seed
        )
    results = []
    for name, hypotheses in outputs.items():
        scores = corpus_scores(hypotheses, references)
        if name in learnt:
            signature = f"model:{COMET_MODEL}"
            scores.append(
                Score(
                    metric="COMET", value=learnt[name], signature=signature, higher_is_better=True
                )
            )
        results.append(
            SystemResult(name=name, scores=scores, comparisons=comparisons.get(name, []))
        )
    return results


def _record(
    args: Namespace,
    pairs: list[SentencePair],
    results: list[SystemResult],
    systems: dict[str, str],
    origins: dict[str, dict[str, Any]],
) -> dict[str, Any]:
    text = "\n".join(f"{pair.source}\t{pair.target}" for pair in pairs)
    return {
        "test_set": str(args.test),
        "test_set_sha256": sha256(text.encode()).hexdigest(),
        "sentences": len(pairs),
        "baseline": args.baseline,
        "bootstrap": {"samples": args.samples, "seed": args.seed},
        "systems": [
            {
                "name": result.name,
                "path": systems[result.name],
                "made_from": origins[result.name],
                "scores": [asdict(score) for score in result.scores],
                "comparisons": [asdict(comparison) for comparison in result.comparisons],
            }
            for result in results
        ],
    }
