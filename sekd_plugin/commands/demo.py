"""Distil a small student on the shipped sample corpus and write a report.

A teacher and a student are trained, the student is continued under cross_entropy, word_kd and
self_evolution_kd with equal budgets, all are scored on the test set, and OUT/report.html shows
what came out. The recipes are in recipes/demo. Interrupt it at any time: the same command goes on.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from sekd_plugin.checks import at_least
from sekd_plugin.demo.demo_report import score_lines, write_demo_report
from sekd_plugin.demo.layout import Layout
from sekd_plugin.demo.plan import make_plan
from sekd_plugin.demo.run_demo import run_stages
from sekd_plugin.errors import SekdError
from sekd_plugin.programs.interruption import Interrupted
from sekd_plugin.recipes_folder import recipes_folder


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments of ``sekd demo``."""
    parser.add_argument("out", metavar="OUT", type=Path, help="the folder for everything it makes")
    parser.add_argument(
        "--recipes",
        metavar="FOLDER",
        type=Path,
        help="demo.yaml and the training recipes (default: the shipped ones)",
    )
    parser.add_argument(
        "--steps",
        metavar="N",
        type=int,
        help="train nothing for more than N steps: a quick look, not a result",
    )
    parser.add_argument(
        "--sentences",
        metavar="N",
        type=int,
        help="validate and test on the first N sentences only",
    )


def run(args: Namespace) -> int:
    """Run what is missing, then show the scores and where the report is."""
    for name in ("steps", "sentences"):
        if getattr(args, name) is not None:
            at_least(f"--{name}", getattr(args, name), 1)
    out = args.out.resolve()
    if out.exists() and not out.is_dir():
        raise SekdError(f"{args.out} is a file; name a folder for the demo")
    if out.is_dir() and any(out.iterdir()) and not (out / "stages").is_dir():
        raise SekdError(f"{args.out} is not empty and holds no demo; name another folder")
    recipes = recipes_folder() / "demo" if args.recipes is None else args.recipes.resolve()
    plan = make_plan(Layout(out), recipes, args.steps, args.sentences)
    try:
        worked = run_stages(plan)
    except Interrupted as stop:
        print(
            f"sekd demo: stopped by {stop.signal_name}; the same command goes on from here",
            file=sys.stderr,
        )
        return stop.exit_code
    written = write_demo_report(plan)
    print("\n".join(score_lines(plan)))
    if not worked and not written:
        print(f"\n{args.out} was finished already")
    print(f"report: {args.out / 'report.html'}")
    return 0
