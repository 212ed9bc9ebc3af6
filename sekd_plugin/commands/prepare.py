"""Turn parallel files into a SentencePiece vocabulary and clean train, valid and test splits.

A file is .jsonl (an object a line), .tsv (columns) or, as FILE:TARGET_FILE, two plain-text files
of equally many lines; each may be compressed as .gz or .xz. OUT then holds vocabulary.model,
vocabulary.vocab, train.jsonl, valid.jsonl, test.jsonl and report.json. An existing result is never
overwritten; an interrupted run is simply started again.
"""

from __future__ import annotations

import dataclasses
from argparse import ArgumentParser, Namespace, _ArgumentGroup
from pathlib import Path

from sekd_plugin.corpus.preparation import CorpusFiles, PairFiles, prepare_corpus
from sekd_plugin.corpus.settings import MODEL_TYPES, PreparationSettings
from sekd_plugin.errors import ConfigError
from sekd_plugin.progress import StreamProgress

_DEFAULTS = PreparationSettings()


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments of ``sekd prepare``."""
    name = "FILE[:TARGET_FILE]"
    parser.add_argument("out", metavar="OUT", type=Path, help="the folder to make")
    inputs = parser.add_argument_group("input")
    inputs.add_argument(
        "--train", metavar=name, nargs="+", action="extend", required=True, help="training pairs"
    )
    inputs.add_argument("--valid", metavar=name, help="validation pairs, instead of holding out")
    inputs.add_argument("--test", metavar=name, help="test pairs, instead of holding out")
    _add(inputs, "source_field", str, "field or column of the source text")
    _add(inputs, "target_field", str, "field or column of the target text")
    inputs.add_argument(
        "--swap", action="store_true", help="translate the other way: exchange the two fields"
    )
    _add(inputs, "max_broken_share", float, "share of a split's lines that may be broken")
    splits = parser.add_argument_group("splits")
    _add(splits, "valid_size", int, "sentences to hold out without --valid")
    _add(splits, "test_size", int, "sentences to hold out without --test")
    _add(splits, "seed", int, "decides which ones")
    limits = parser.add_argument_group("limits (of training pairs; either side)")
    _add(limits, "min_words", int, "fewest words")
    _add(limits, "max_words", int, "most words")
    _add(limits, "max_characters", int, "most characters")
    _add(limits, "max_ratio", float, "most characters of a side for one of the other")
    limits.add_argument(
        "--drop-copies", action="store_true", help="leave out pairs whose target is the source"
    )
    vocabulary = parser.add_argument_group("vocabulary")
    _add(vocabulary, "vocabulary_size", int, "pieces, special and byte pieces included")
    _add(vocabulary, "model_type", str, " or ".join(MODEL_TYPES))
    _add(vocabulary, "character_coverage", float, "share of characters with their own piece")
    _add(vocabulary, "vocabulary_sentences", int, "most sentences to train it on")
    vocabulary.add_argument(
        "--template", metavar="TEXT", help="a prompt with {source}, to be in the vocabulary too"
    )


def run(args: Namespace) -> int:
    """Prepare the corpus and print its report."""
    given = vars(args)
    values = {
        field.name: given[field.name]
        for field in dataclasses.fields(PreparationSettings)
        if field.name in given
    }
    if args.swap:
        values |= {"source_field": args.target_field, "target_field": args.source_field}
    files = CorpusFiles(
        train=[_pair_files(text) for text in args.train],
        valid=_pair_files(args.valid) if args.valid else None,
        test=_pair_files(args.test) if args.test else None,
    )
    try:
        settings = PreparationSettings(**values)
        report, made = prepare_corpus(args.out, files, settings, StreamProgress())
    except ConfigError as error:
        raise ConfigError(f"--{error.key.replace('_', '-')}", error.problem) from None
    print(report.table())
    if made:
        print(f"\nmade {args.out}")
    else:
        print(f"\n{args.out} was finished already, from the same input and settings")
    return 0


def _pair_files(text: str) -> PairFiles:
    """``FILE`` or ``FILE:TARGET_FILE``; a colon in a file's own name is no separator."""
    cuts = [index for index, character in enumerate(text) if character == ":"]
    if not cuts or Path(text).exists():
        return PairFiles(Path(text))
    choices = [PairFiles(Path(text[:cut]), Path(text[cut + 1 :])) for cut in cuts]
    for choice in choices:
        if choice.path.is_file() and choice.target_path and choice.target_path.is_file():
            return choice
    return choices[0]


def _add(group: _ArgumentGroup, key: str, kind: type[int | float | str], what: str) -> None:
    default = getattr(_DEFAULTS, key)
    group.add_argument(
        f"--{key.replace('_', '-')}",
        type=kind,
        default=default,
        metavar=kind.__name__.upper(),
        help=f"{what} (default {default})",
    )
