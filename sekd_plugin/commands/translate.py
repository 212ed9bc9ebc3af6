"""Translate a file, or standard input, sentence by sentence, with a trained model.

  sekd translate --model runs/student < source.txt > target.txt
  sekd translate --model runs/student@best --input source.txt --output target.txt --beam-size 4
  sekd translate --model runs/teacher --input train.jsonl --source-field src --output said.jsonl

The order is kept; an empty line stays an empty line. The last command makes data for
sequence-level distillation: the same sources, each with the teacher's translation.
"""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace
from codecs import BOM_UTF8
from pathlib import Path

from sekd_plugin.checks import at_least, between
from sekd_plugin.corpus import read_pairs
from sekd_plugin.errors import ConfigError, DataError, SekdError, did_you_mean
from sekd_plugin.new_file import check_new_file, write_new_file
from sekd_plugin.progress import StreamProgress
from sekd_plugin.toolkits.fairseq2.checkpoint_choice import run_and_choice
from sekd_plugin.toolkits.fairseq2.loading import load_exported, load_translator
from sekd_plugin.toolkits.fairseq2.search import MAX_LENGTH_RATIO
from sekd_plugin.toolkits.fairseq2.translator import DecodingOptions, Translator


def add_arguments(parser: ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument(
        "--model",
        required=True,
        metavar="RUN",
        help="a training run's folder, with @step_N, @best or @last if need be; or a folder "
        "exported for Hugging Face, with --tokenizer and --template, or the languages",
    )
    parser.add_argument("--input", type=Path, metavar="FILE", help="default: standard input")
    parser.add_argument("--output", type=Path, metavar="FILE", help="default: standard output")
    parser.add_argument(
        "--source-field",
        metavar="NAME",
        help="translate this field of a .jsonl or .tsv; the output is then .jsonl too, of pairs to "
        "train on",
    )
    parser.add_argument(
        "--target-field",
        default="tgt",
        metavar="NAME",
        help="with --source-field, the field of the translation (default: tgt)",
    )
    parser.add_argument(
        "--tokenizer",
        type=Path,
        metavar="FILE",
        help="the vocabulary, for an exported model or a run that was moved",
    )
    add_pair_arguments(parser, "the prompt, for an exported model or other than a run's")
    parser.add_argument("--family", default="llama", help="for an exported model (default: llama)")
    add_decoding_arguments(parser)


def add_pair_arguments(parser: ArgumentParser, template: str) -> None:
    """The arguments that say what a model reads beside a sentence."""
    parser.add_argument("--template", metavar="TEXT", help=template)
    for side in ("source", "target"):
        parser.add_argument(
            f"--{side}-language",
            metavar="NAME",
            help=f"the {side}'s language, likewise, for an encoder–decoder model (as deu_Latn)",
        )


def pair_settings(args: Namespace) -> dict[str, str]:
    """What was given of them, by their names under ``dataset``."""
    return {
        key: getattr(args, key).replace("\\n", "\n")
        for key in ("template", "source_language", "target_language")
        if getattr(args, key) is not None
    }


def add_decoding_arguments(parser: ArgumentParser) -> None:
    """The arguments of the search."""
    parser.add_argument("--beam-size", type=int, default=1, help="1, the default, is greedy")
    parser.add_argument("--length-penalty", type=float, default=1.0, help="default: 1")
    parser.add_argument("--max-target-tokens", type=int, default=256, help="default: 256")
    parser.add_argument(
        "--max-target-ratio",
        type=float,
        default=MAX_LENGTH_RATIO,
        help=f"words of a translation per word of its prompt (default: {MAX_LENGTH_RATIO:g})",
    )
    parser.add_argument("--batch-tokens", type=int, default=8192, help="default: 8192")
    parser.add_argument("--device", help="cpu, cuda or cuda:N")


def decoding_options(args: Namespace) -> DecodingOptions:
    """The search's settings, checked."""
    return DecodingOptions(
        beam_size=at_least("--beam-size", args.beam_size, 1),
        length_penalty=between("--length-penalty", args.length_penalty, 0.0, 10.0),
        max_target_tokens=at_least("--max-target-tokens", args.max_target_tokens, 1),
        max_target_ratio=between("--max-target-ratio", args.max_target_ratio, 0.0),
        batch_tokens=at_least("--batch-tokens", args.batch_tokens, 1),
    )


def run(args: Namespace) -> int:
    """Translate; 0 when every line was."""
    options = decoding_options(args)
    if args.output is not None:
        check_new_file(args.output)
    translator = _translator(args)
    sources = _sources(args)
    translations = translator.translate(sources, options, StreamProgress())
    text = "".join(
        f"{_line(source, translation, args)}\n"
        for source, translation in zip(sources, translations, strict=True)
    )
    if args.output is None:
        sys.stdout.flush()
        # As bytes, so that a terminal's or a log's encoding cannot refuse a letter.
        sys.stdout.buffer.write(text.encode("utf-8"))
        sys.stdout.buffer.flush()
    else:
        write_new_file(args.output, text)
    return 0


def _sources(args: Namespace) -> list[str]:
    if args.source_field is None:
        return _read_lines(args.input)
    if args.input is None:
        raise ConfigError("--source-field", "needs --input, a file of sentence pairs")
    pairs = read_pairs(args.input, source_field=args.source_field, target_field=args.target_field)
    return [pair.source for pair in pairs]


def _line(source: str, translation: str, args: Namespace) -> str:
    if args.source_field is None:
        return translation
    pair = {args.source_field: source, args.target_field: translation}
    return json.dumps(pair, ensure_ascii=False)


def _read_lines(file: Path | None) -> list[str]:
    name = file or Path("standard input")
    try:
        data = sys.stdin.buffer.read() if file is None else file.read_bytes()
    except FileNotFoundError:
        near = [path.name for path in name.parent.iterdir()] if name.parent.is_dir() else []
        raise DataError(name, f"no such file; {did_you_mean(name.name, near)}") from None
    except OSError as error:
        raise DataError(name, f"cannot be read: {error.strerror}") from None
    return decode_lines(name, data)


def decode_lines(name: Path, data: bytes) -> list[str]:
    """The lines of a file as text; only a line feed ends a line, as ``wc -l`` counts.

    A byte-order mark at the start is skipped.

    Raises:
        DataError: a line is not UTF-8.
    """
    lines = []
    data = data.removeprefix(BOM_UTF8)
    for number, line in enumerate(data.removesuffix(b"\n").split(b"\n") if data else [], start=1):
        try:
            lines.append(line.removesuffix(b"\r").decode("utf-8"))
        except UnicodeDecodeError:
            raise DataError(name, "is not UTF-8 text", number) from None
    return lines


def _translator(args: Namespace) -> Translator:
    settings = pair_settings(args)
    run, _ = run_and_choice(args.model)
    # A folder with model files in it is an export; any other is, or was meant to be, a run.
    if not any(run.glob("*.safetensors")):
        return load_translator(
            args.model, tokenizer=args.tokenizer, settings=settings, device=args.device
        )
    if args.tokenizer is None or not settings:
        raise SekdError(
            f"{run} is an exported model; it needs both --tokenizer and --template, or "
            "--source-language and --target-language where it is encoder–decoder"
        )
    return load_exported(
        run, family=args.family, tokenizer=args.tokenizer, settings=settings, device=args.device
    )
