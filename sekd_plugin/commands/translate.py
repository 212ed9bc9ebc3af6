"""Translate a file, or standard input, sentence by sentence, with a trained model.

  sekd translate --model runs/student < source.txt > target.txt
  sekd translate --model runs/student@best --input source.txt --output target.txt --beam-size 4

The order is kept; an empty line stays an empty line.
"""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from sekd_plugin.checks import at_least
from sekd_plugin.errors import DataError, SekdError
from sekd_plugin.progress import StreamProgress
from sekd_plugin.toolkits.fairseq2.translator import (
    DecodingOptions,
    Translator,
    load_exported,
    load_translator,
)


def add_arguments(parser: ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument(
        "--model",
        required=True,
        metavar="RUN",
        help="a training run's folder, with @step_N, @best or @last if need be; or a folder "
        "exported for Hugging Face, with --tokenizer and --template",
    )
    parser.add_argument("--input", type=Path, metavar="FILE", help="default: standard input")
    parser.add_argument("--output", type=Path, metavar="FILE", help="default: standard output")
    parser.add_argument("--tokenizer", type=Path, metavar="FILE", help="for an exported model")
    parser.add_argument("--template", metavar="TEXT", help="for an exported model")
    parser.add_argument("--family", default="llama", help="for an exported model (default: llama)")
    add_decoding_arguments(parser)


def add_decoding_arguments(parser: ArgumentParser) -> None:
    """The arguments of the search."""
    parser.add_argument("--beam-size", type=int, default=1, help="1, the default, is greedy")
    parser.add_argument("--length-penalty", type=float, default=1.0, help="default: 1")
    parser.add_argument("--max-target-tokens", type=int, default=256, help="default: 256")
    parser.add_argument("--batch-tokens", type=int, default=8192, help="default: 8192")
    parser.add_argument("--device", help="cpu, cuda or cuda:N")


def decoding_options(args: Namespace) -> DecodingOptions:
    """The search's settings, checked."""
    return DecodingOptions(
        beam_size=at_least("--beam-size", args.beam_size, 1),
        length_penalty=args.length_penalty,
        max_target_tokens=at_least("--max-target-tokens", args.max_target_tokens, 1),
        batch_tokens=at_least("--batch-tokens", args.batch_tokens, 1),
    )


def run(args: Namespace) -> int:
    """Translate; 0 when every line was."""
    options = decoding_options(args)
    if args.output is not None and args.output.exists():
        raise SekdError(f"{args.output} exists already; name another file, or remove it first")
    translator = _translator(args)
    sources = _read_lines(args.input)
    translations = translator.translate(sources, options, StreamProgress())
    text = "".join(f"{translation}\n" for translation in translations)
    if args.output is None:
        sys.stdout.write(text)
        sys.stdout.flush()
    else:
        write_whole(args.output, text)
    return 0


def write_whole(file: Path, text: str) -> None:
    """Write a file in one go: it is there whole, or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f"{file.name}.partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, file)


def _read_lines(file: Path | None) -> list[str]:
    name = file or Path("standard input")
    try:
        data = sys.stdin.buffer.read() if file is None else file.read_bytes()
    except OSError as error:
        raise DataError(name, f"cannot be read: {error.strerror}") from None
    return decode_lines(name, data)


def decode_lines(name: Path, data: bytes) -> list[str]:
    """The lines of a file as text; only a line feed ends a line, as ``wc -l`` counts.

    Raises:
        DataError: a line is not UTF-8.
    """
    lines = []
    for number, line in enumerate(data.removesuffix(b"\n").split(b"\n") if data else [], start=1):
        try:
            lines.append(line.removesuffix(b"\r").decode("utf-8"))
        except UnicodeDecodeError:
            raise DataError(name, "is not UTF-8 text", number) from None
    return lines


def _translator(args: Namespace) -> Translator:
    if args.tokenizer is None and args.template is None:
        return load_translator(args.model, device=args.device)
    if args.tokenizer is None or args.template is None:
        raise SekdError("an exported model needs both --tokenizer and --template")
    return load_exported(
        Path(args.model),
        family=args.family,
        tokenizer=args.tokenizer,
        template=args.template.replace("\\n", "\n"),
        device=args.device,
    )
