"""Run a recipe's teacher once over its corpus; keep its likeliest words for each target token.

  sekd cache-teacher caches/a --config-file student.yaml --top-k 32
  sekd train runs/kd --config-file student.yaml --config teacher=null teacher_cache.path=caches/a
  sekd cache-teacher verify caches/a

An interrupted command goes on where it stopped. Several may fill one cache at the same time, each
on a device of its own: start the same command several times, or once under torchrun. A teacher that
does not fit on one device is divided among gang.tensor_parallel_size of them, under torchrun.
"""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from pathlib import Path

import torch
from fairseq2.runtime.dependency import get_dependency_resolver
from fairseq2.utils.argparse import ConfigAction

from sekd_plugin.errors import SekdError
from sekd_plugin.progress import StreamProgress
from sekd_plugin.teachers.cache import TeacherCache
from sekd_plugin.teachers.cache.packing import PROBABILITY_BITS
from sekd_plugin.teachers.cache.verification import verify
from sekd_plugin.teachers.likeliest import Likeliest
from sekd_plugin.toolkits.fairseq2.caching import CachingSettings, Made, fill_cache
from sekd_plugin.toolkits.fairseq2.device import chosen_device
from sekd_plugin.toolkits.fairseq2.preflight import check_for_caching
from sekd_plugin.toolkits.fairseq2.recipe_loading import load_recipe

_DEFAULTS = CachingSettings()


def add_arguments(parser: ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument(
        "out", nargs="+", metavar="OUT", help="the folder; after the word verify, one to check"
    )
    parser.add_argument("--config-file", type=Path, metavar="FILE", help="the recipe")
    parser.add_argument(
        "--config",
        action=ConfigAction,
        help="settings that replace the recipe's, as section.key=value",
    )
    likeliest = _DEFAULTS.likeliest
    parser.add_argument(
        "--top-k",
        type=int,
        default=likeliest.top_k,
        metavar="K",
        help=f"the most words that are kept of a token (default: {likeliest.top_k})",
    )
    parser.add_argument(
        "--top-p",
        type=float,
        default=likeliest.top_p,
        metavar="P",
        help="of these, the fewest that have this much probability together (default: all)",
    )
    parser.add_argument(
        "--probability-bits",
        type=int,
        choices=PROBABILITY_BITS,
        default=_DEFAULTS.probability_bits,
        help=f"how a probability is kept (default: {_DEFAULTS.probability_bits})",
    )
    parser.add_argument(
        "--shard-sentences",
        type=int,
        default=_DEFAULTS.shard_sentences,
        metavar="N",
        help=f"sentences in a file (default: {_DEFAULTS.shard_sentences})",
    )
    parser.add_argument("--device", help="cpu, cuda or cuda:N (default: CUDA where there is one)")


def run(args: Namespace) -> int:
    """Fill a cache, or verify one; 0 when it is whole."""
    is_verification = args.out[0] == "verify" and len(args.out) > 1
    if len(args.out) > (2 if is_verification else 1):
        raise SekdError(f"name one folder for the cache, not {' and '.join(args.out)}")
    folder = Path(args.out[-1])
    return _verify(folder) if is_verification else _fill(folder, args)


def _verify(folder: Path) -> int:
    problems = verify(folder, StreamProgress())
    for problem in problems:
        print(problem)
    if problems:
        parts = "part is" if len(problems) == 1 else "parts are"
        raise SekdError(f"{folder} is not whole: {len(problems)} {parts} damaged or missing")
    plan = TeacherCache(folder).plan
    print(f"{folder} is whole: {plan.num_sentences:,} sentences, {plan.num_tokens:,} tokens")
    return 0


def _fill(folder: Path, args: Namespace) -> int:
    config = load_recipe(args.config_file, args.config or [])
    resolver = get_dependency_resolver()
    check_for_caching(config, resolver)
    settings = CachingSettings(
        likeliest=Likeliest(top_k=args.top_k, top_p=args.top_p),
        probability_bits=args.probability_bits,
        shard_sentences=args.shard_sentences,
    )
    made = fill_cache(
        folder,
        config,
        settings,
        resolver=resolver,
        device=chosen_device(args.device or _device_of_rank()),
        progress=StreamProgress(),
    )
    if made.leads:
        _tell(folder, made)
    return 0


def _device_of_rank() -> str | None:
    """Under torchrun each process takes the GPU of its number, where there are GPUs."""
    rank = os.environ.get("LOCAL_RANK")
    return f"cuda:{rank}" if rank is not None and torch.cuda.is_available() else None


def _tell(folder: Path, made: Made) -> None:
    if made.num_tokens > 0:
        speed = made.num_tokens / made.seconds
        print(
            f"ran the teacher on {made.num_sentences:,} sentences, {made.num_tokens:,} tokens, "
            f"{speed:,.0f} tokens/s"
        )
    if not made.finished:
        print(f"{folder} is not finished: other processes are at work on it")
        return
    cache = TeacherCache(folder)
    plan, tokens = cache.plan, cache.plan.num_tokens
    size = sum(each.num_bytes for each in cache.summaries)
    words = sum(each.num_words for each in cache.summaries) / tokens
    entropy = sum(each.entropy for each in cache.summaries) / tokens
    tail = sum(each.tail for each in cache.summaries) / tokens
    print(
        f"{folder}: {plan.num_sentences:,} sentences, {tokens:,} tokens, {size / 2**20:,.1f} MiB "
        f"in {plan.num_shards} files\n"
        f"a token takes {size / tokens:.0f} bytes and lists {words:.1f} words; {100 * tail:.2f} % "
        f"of probability is not listed; the teacher's entropy is {entropy:.2f} nats a token"
    )
