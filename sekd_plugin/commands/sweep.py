"""Train a recipe in many variants with several seeds, and write a table of what came out.

  sekd sweep sweep.yaml runs/sweep
  sekd sweep sweep.yaml runs/sweep --dry-run
  sekd sweep sweep.yaml runs/sweep --only word_kd --jobs 2
  sekd sweep sweep.yaml runs/sweep --table first --over larger.yaml
  sekd sweep sweep.yaml runs/sweep --report

The same command goes on where it was interrupted, trains nothing twice, and tries again what had
failed. OUT/results.md, .tex, .csv and .json hold the table, OUT/scores.svg and OUT/curves.svg the
pictures; OUT/tables/NAME holds the same for each table of some of the rows. The exit code is 1
where a run has failed; the others are trained all the same.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path

from fairseq2.runtime.dependency import get_dependency_resolver

from sekd_plugin.checks import at_least
from sekd_plugin.corpus.result_folder import disk_errors_named
from sekd_plugin.errors import ConfigError, SekdError, did_you_mean
from sekd_plugin.new_file import replace_file
from sekd_plugin.programs.folder_lock import alone
from sekd_plugin.programs.interruption import Interrupted
from sekd_plugin.progress import StreamProgress
from sekd_plugin.sweep.display import SweepDisplay
from sekd_plugin.sweep.layout import Layout
from sekd_plugin.sweep.record import State
from sekd_plugin.sweep.report import FILES
from sekd_plugin.sweep.resources import available_slots
from sekd_plugin.sweep.results import Failure, SweepResults
from sekd_plugin.sweep.table import Table, chosen_rows
from sekd_plugin.sweep.tables import text_table
from sekd_plugin.toolkits.fairseq2.sections import TrainingConfig
from sekd_plugin.toolkits.fairseq2.sweeping.board import Board
from sekd_plugin.toolkits.fairseq2.sweeping.gathering import Comparisons, gather
from sekd_plugin.toolkits.fairseq2.sweeping.plan import (
    PlannedRun,
    check_comparable,
    check_run,
    largest_bytes,
    planned_runs,
)
from sekd_plugin.toolkits.fairseq2.sweeping.scoring import TestSet
from sekd_plugin.toolkits.fairseq2.sweeping.sitting import Sitting, num_programs
from sekd_plugin.toolkits.fairseq2.sweeping.sweep_file import SweepFile, read_sweep

Runs = Mapping[str, Sequence[PlannedRun]]


def add_arguments(parser: ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("sweep", type=Path, metavar="SWEEP_FILE", help="what to train")
    parser.add_argument("output", type=Path, metavar="OUT", help="the folder for everything")
    parser.add_argument(
        "--jobs", metavar="N", default="auto", help="runs at once (default: as the machine allows)"
    )
    parser.add_argument("--only", nargs="+", metavar="ROW", help="work on these rows alone")
    parser.add_argument(
        "--table", nargs="+", metavar="NAME", help="work on the rows of these tables alone"
    )
    parser.add_argument(
        "--over",
        nargs="+",
        type=Path,
        default=[],
        metavar="FILE",
        help="sweep files whose keys go before SWEEP_FILE's, such as larger models and more steps",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="check everything and list the runs; change nothing"
    )
    parser.add_argument(
        "--report", action="store_true", help="write the results so far; train and score nothing"
    )


def run(args: Namespace) -> int:
    """Check, train, score, report; 1 where a run has failed."""
    jobs = _jobs(args.jobs)
    sweep = read_sweep(args.sweep, args.over)
    tables = _chosen_tables(sweep, args.table)
    rows = _chosen_rows(sweep, args.only, tables)
    layout = Layout(args.output.resolve())
    _check_folder(args.output, layout)
    runs = planned_runs(sweep)
    test = TestSet(sweep.settings.test)
    board = Board(layout, sweep, runs)
    if args.report:
        if not layout.records.is_dir():
            raise SekdError(f"{args.output} holds no sweep yet")
        again = "without --report the same command tries what failed again"
        return _report(board, sweep, tables, rows, test, again)
    configs = _check(board, sweep, rows)
    if args.dry_run:
        print(_listed(board, rows))
        return 0
    to_do = num_programs(board, rows, test)
    largest = largest_bytes(configs.values(), get_dependency_resolver())
    slots = available_slots(jobs, largest, max(1, to_do))
    display = SweepDisplay(sys.stderr)
    with disk_errors_named(args.output), alone(layout.lock, args.output, "sweep") as lock:
        board = Board(layout, sweep, runs)  # read again, now that nobody else writes
        for stranger in board.strangers():
            display.say(f"{stranger}: not in the sweep file; left alone")
        for failed in board.take_up(rows):
            display.say(f"{failed}: had failed; it is tried again")
        try:
            Sitting(board, rows, test, slots, lock, display).run()
        except Interrupted as stop:
            print(
                f"sekd sweep: stopped by {stop.signal_name}; the same command goes on from here",
                file=sys.stderr,
            )
            return stop.exit_code
        again = "the same command tries what failed again"
        return _report(board, sweep, tables, rows, test, again)


def _jobs(text: str) -> int | None:
    if text == "auto":
        return None
    if not text.isdecimal():
        raise SekdError(f"--jobs: '{text}' is not allowed; write auto or a whole number from 1")
    return at_least("--jobs", int(text), 1)


def _chosen_tables(sweep: SweepFile, names: Sequence[str] | None) -> list[Table]:
    """The tables that are asked for; that of all rows, and every other, where none is."""
    if names is None:
        return [sweep.whole, *sweep.tables]
    known = {table.name: table for table in sweep.tables}
    for name in names:
        if name not in known:
            raise SekdError(f"--table: '{name}' is not a table; {did_you_mean(name, known)}")
    return [known[name] for name in names]


def _chosen_rows(
    sweep: SweepFile, only: Sequence[str] | None, tables: Sequence[Table]
) -> list[str]:
    """The rows to work on, in the order of the tables."""
    names = list(dict.fromkeys(name for table in tables for name in table.rows))
    if only is None:
        return names
    try:
        chosen = chosen_rows(only, [row.name for row in sweep.rows], "--only")
    except ConfigError as error:
        raise SekdError(str(error)) from None
    for name in chosen:
        if name not in names:
            tables_in_words = ", ".join(table.name for table in tables)
            raise SekdError(f"--only: '{name}' is not a row of {tables_in_words}")
    return [name for name in names if name in chosen]


def _check_folder(shown: Path, layout: Layout) -> None:
    root = layout.root
    if root.exists() and not root.is_dir():
        raise SekdError(f"{shown} is a file; name a folder for the sweep")
    if root.is_dir() and any(root.iterdir()) and not layout.records.is_dir():
        raise SekdError(f"{shown} is not empty and holds no sweep; name another folder")


def _check(board: Board, sweep: SweepFile, rows: Sequence[str]) -> dict[str, TrainingConfig]:
    """Check the recipes of all runs that are not trained; trial → its recipe with defaults."""
    for name in rows:
        agenda = board.agendas[name]
        check_comparable([board.runs[run] for trial in agenda.alive for run in agenda.runs(trial)])
    resolver = get_dependency_resolver()
    configs: dict[str, TrainingConfig] = {}
    todo = [
        board.runs[run]
        for run in board.runs_of(rows)
        if board.is_alive(run) and not board.records[run].is_trained
    ]
    tuned = {row.name for row in sweep.rows if row.is_tuned}
    for each in StreamProgress().track(todo, "checking recipes", len(todo)):
        halving = sweep.settings.halving if each.row in tuned else None
        folder = board.layout.run(each.key)
        configs[each.trial] = check_run(each, folder, halving, resolver)
    return configs


def _listed(board: Board, rows: Sequence[str]) -> str:
    """Every run with how it stands."""
    lines = [
        (run, str(board.records[run].state) if board.is_alive(run) else "given up")
        for run in board.runs_of(rows)
    ]
    width = max(len(run) for run, _ in lines)
    return "\n".join([f"{run:<{width}}  {state}" for run, state in lines] + [f"{len(lines)} runs"])


def _report(
    board: Board,
    sweep: SweepFile,
    tables: Sequence[Table],
    rows: Sequence[str],
    test: TestSet,
    again: str,
) -> int:
    """Show the first table, write all of them; 1 where a run of the rows worked on has failed."""
    comparisons = Comparisons(board.layout, test)
    mine = set(board.runs_of(rows))
    for number, table in enumerate(tables):
        results = gather(board, sweep, table, test, comparisons, StreamProgress())
        whole = table == sweep.whole
        folder = board.layout.root if whole else board.layout.table(table.name)
        if number == 0:
            failures = [each for each in results.failures if each.run in mine]
            _show(results, failures)
            if any(board.is_alive(each.run) for each in failures):
                print(again)
            if results.missing:
                print(f"without a result: {', '.join(results.missing)}")
        elif not results.rows:
            continue
        with disk_errors_named(folder):
            folder.mkdir(parents=True, exist_ok=True)
            for name, write in FILES.items():
                replace_file(folder / name, write(results))
        print(f"results: {folder / 'results.md'}")
    return 1 if any(board.records[run].state is State.FAILED for run in mine) else 0


def _show(results: SweepResults, failures: Sequence[Failure]) -> None:
    if results.rows:
        print(text_table(results))
    for each in failures:
        print(f"{each.run} failed: {each.problem}; see {each.log}")
