"""Train a student, a teacher or a baseline from a recipe.

  sekd train runs/student --config-file recipes/student.yaml
  sekd train runs/kd --config-file recipes/student.yaml --config criterion.name=word_kd
  torchrun --nproc-per-node 2 -m sekd_plugin train runs/two --config-file recipes/student.yaml

The same command resumes a run that was interrupted. Ctrl-C, SIGTERM and SIGUSR1 end a run after the
step that is being done, with a checkpoint; the exit code is then 128 and the signal's number.
With --stop-after N a run stops after step N by itself, with exit code 0; the same command without
it goes on from there, as if it had never stopped.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from fairseq2.recipe.cli import main as run_recipe
from fairseq2.runtime.dependency import get_dependency_resolver
from fairseq2.utils.argparse import ConfigAction

from sekd_plugin.checks import at_least
from sekd_plugin.errors import SekdError
from sekd_plugin.freed_memory import keep_freed_memory
from sekd_plugin.toolkits.fairseq2.device import chosen_device
from sekd_plugin.toolkits.fairseq2.durability.durable_training import DurableTrainingRecipe
from sekd_plugin.toolkits.fairseq2.durability.room import check_room
from sekd_plugin.toolkits.fairseq2.durability.stopping import StopSignals
from sekd_plugin.toolkits.fairseq2.output_folder import (
    check_output_folder,
    discard_if_nothing_came,
)
from sekd_plugin.toolkits.fairseq2.preflight import check_recipe
from sekd_plugin.toolkits.fairseq2.recipe_loading import load_recipe
from sekd_plugin.toolkits.fairseq2.redaction import redact_logs


def add_arguments(parser: ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("output", type=Path, nargs="?", metavar="OUT", help="the run's folder")
    parser.add_argument("--config-file", type=Path, metavar="FILE", help="the recipe")
    parser.add_argument(
        "--config",
        action=ConfigAction,
        help="settings that replace the recipe's, as section.key=value",
    )
    parser.add_argument("--device", help="cpu, cuda or cuda:N (default: CUDA where there is one)")
    parser.add_argument(
        "--dump-config", action="store_true", help="print the whole recipe with its defaults"
    )
    parser.add_argument(
        "--stop-after", type=int, metavar="N", help="stop after step N, to go on later"
    )


def run(args: Namespace) -> int:
    """Check the recipe, then hand it to fairseq2; 0 when training ended."""
    if args.output is None and not args.dump_config:
        raise SekdError("name a folder for the run: sekd train OUT --config-file FILE")
    if args.stop_after is not None:
        at_least("--stop-after", args.stop_after, 1)
    if args.device is not None:
        os.environ["FAIRSEQ2_DEVICE"] = args.device
    is_first = os.environ.get("RANK", "0") == "0"
    try:
        config = load_recipe(args.config_file, args.config or [])
        if not args.dump_config:
            check_recipe(config, get_dependency_resolver())
            if is_first:
                check_output_folder(args.output, config)
                check_room(args.output)
    except SekdError:
        if not is_first:
            return 2  # the first process speaks for all
        raise
    if not args.dump_config and chosen_device(os.environ.get("FAIRSEQ2_DEVICE")).type == "cpu":
        keep_freed_memory()
    redact_logs()
    logging.raiseExceptions = False  # a log that a full disk does not take is no second error
    is_new = args.output is not None and not args.output.exists()
    sys.argv = ["sekd train", *_fairseq2_arguments(args)]
    code = 0
    with StopSignals(args.stop_after) as signals:
        try:
            run_recipe(DurableTrainingRecipe(signals))
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 1
    if code == 2 and is_new and is_first:
        discard_if_nothing_came(args.output)
    if signals.stopped_after is not None:
        code = _stopped(args.output, signals, is_first)
    return code


def _stopped(output: Path, signals: StopSignals, is_first: bool) -> int:
    """Say where a run that was asked to stop can be resumed; return its exit code."""
    # SIGUSR1 is fairseq2's own way, and a signal may have come to another rank only.
    number = signal.SIGUSR1 if signals.number is None else signal.Signals(signals.number)
    by = "as it was asked to" if signals.number is None else f"by {number.name}"
    if signals.is_planned:
        by = "as --stop-after says,"
    checkpoint = output / "checkpoints" / f"step_{signals.stopped_after}"
    if (checkpoint / "trainer").is_dir():
        without = " without --stop-after" if signals.is_planned else ""
        then = f"the same command{without} resumes from {checkpoint}"
    else:
        then = f"{checkpoint} holds the model alone, as regime.save_model_only says"
    if is_first:
        print(
            f"sekd train: stopped {by} after step {signals.stopped_after}; {then}",
            file=sys.stderr,
        )
    return 0 if signals.is_planned else 128 + number


def _fairseq2_arguments(args: Namespace) -> list[str]:
    """What was typed after ``train``, for fairseq2's own parser, but for what it does not know."""
    typed = list(args.words)
    for option, value in (("--device", args.device), ("--stop-after", args.stop_after)):
        if value is not None:
            place = next(i for i, word in enumerate(typed) if word.startswith(option))
            del typed[place : place + (1 if "=" in typed[place] else 2)]
    if not sys.stderr.isatty():
        typed.append("--no-rich")
    return typed
