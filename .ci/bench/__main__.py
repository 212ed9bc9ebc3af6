"""``make bench``: measure, print the tables, and keep them with the figures and pictures."""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.contenders import GROWING, check_names
from bench.hardware import describe_hardware
from bench.measurement import measure_point
from bench.peer_folder import ROOT, install_peers, use_peers
from bench.peers import peer_versions
from bench.plot import draw_growth, draw_points
from bench.processes import Progress
from bench.results import write_results
from bench.settings import Point, Settings, make_parser, read_settings
from bench.tables import growth_table, point_table, step_table, target_table
from bench.targets import Verdict, judge
from bench.training_steps import measure_steps

_MOST_GROWTH_ROUNDS = 2


def main(words: list[str] | None = None, into: Path | None = None) -> int:
    """Run it all; what was measured before an interruption is kept."""
    chosen = make_parser().parse_args(words)
    settings = read_settings(chosen)
    if settings.only is not None:
        check_names(settings.only)
    folder = into or ROOT / "runs" / "bench" / time.strftime("%Y-%m-%d_%H%M%S")
    folder.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "command": sys.argv[1:] if words is None else words,
        "hardware": describe_hardware(chosen.device, chosen.threads),
        "grid": [],
        "growth": [],
    }
    if settings.peers:
        if problem := install_peers():
            print(f"bench: others' packages could not be installed: {problem}", flush=True)
            results["peers_problem"] = problem
        use_peers()
        results["peers"] = peer_versions()
    run = Run(folder, results, settings, chosen.threads, Progress(_print))
    begun = time.monotonic()
    try:
        run.everything()
    except KeyboardInterrupt:
        results["interrupted"] = True
        print("\nbench: interrupted; what was measured so far is kept", flush=True)
    results["minutes"] = round((time.monotonic() - begun) / 60.0, 2)
    run.close()
    return 130 if results.get("interrupted") else 0


class Run:
    """One run and its folder."""

    def __init__(
        self,
        folder: Path,
        results: dict[str, Any],
        settings: Settings,
        threads: int | None,
        progress: Progress,
    ) -> None:
        self._folder = folder
        self._results = results
        self._settings = settings
        self._threads = threads
        self._progress = progress
        self._titled: list[tuple[str, dict[str, Any]]] = []
        self._verdicts: list[Verdict] = []
        self._printed: list[str] = []

    def everything(self) -> None:
        """Measure all that was asked for; the file is written after each step."""
        settings, hardware = self._settings, self._results["hardware"]
        self._show(
            f"{self._results['date']}: {hardware['processor']}, {hardware['cores']} cores, "
            f"torch {hardware['torch']}, {hardware['threads']} threads, "
            f"load {hardware['load_at_start']}"
        )
        if "peers" in self._results:
            versions = self._results["peers"].items()
            self._show(", ".join(f"{name} {version}" for name, version in versions))
        for number, point in enumerate(settings.grid, start=1):
            self._progress.tell(f"point {number} of {len(settings.grid)}: {point.title}", True)
            result = self._measure(point, settings.only, settings.repeats, fresh=True)
            self._results["grid"].append(result)
            self._titled.append((point.title, result))
            found = judge(point.title, result)
            self._verdicts += found
            result["targets"] = [verdict.as_json() for verdict in found]
            write_results(self._folder, self._results)
            self._show("\n" + point_table(point.title, result))
        if settings.rounds > 0:
            self._measure_steps()
        names = GROWING
        if settings.only is not None:
            names = tuple(name for name in GROWING if name.startswith(settings.only))
        for number, point in enumerate(settings.growth if names else (), start=1):
            self._progress.tell(f"growth, {number} of {len(settings.growth)}: {point.title}", True)
            rounds = min(settings.repeats, _MOST_GROWTH_ROUNDS)
            self._results["growth"].append(self._measure(point, names, rounds, fresh=False))
            write_results(self._folder, self._results)

    def close(self) -> None:
        """Print the last tables; write file, pictures and tables."""
        write_results(self._folder, self._results)
        if self._results["growth"]:
            self._show("\n" + growth_table(self._results["growth"], GROWING))
        if self._verdicts:
            self._show("\n" + target_table(self._verdicts))
        if self._titled:
            draw_points(self._folder / "points.svg", self._titled)
        if self._results["growth"]:
            draw_growth(self._folder / "growth.svg", self._results["growth"], GROWING)
        tables = "\n".join(self._printed) + "\n"
        (self._folder / "tables.txt").write_text(tables, encoding="utf-8")
        _print(f"\nbench: {self._results['minutes']} min; results are in {self._folder}")

    def _measure(
        self, point: Point, names: tuple[str, ...] | None, rounds: int, *, fresh: bool
    ) -> dict[str, Any]:
        return measure_point(
            point,
            names,
            rounds=rounds,
            peers=self._settings.peers,
            threads=self._threads,
            progress=self._progress,
            fresh=fresh,
        )

    def _measure_steps(self) -> None:
        with tempfile.TemporaryDirectory(prefix="sekd-bench-") as folder:
            try:
                found = measure_steps(
                    Path(folder),
                    steps=self._settings.steps,
                    rounds=self._settings.rounds,
                    progress=self._progress,
                )
            except (RuntimeError, ImportError) as error:
                found = {"reason": str(error)}
        self._results["training_steps"] = found
        write_results(self._folder, self._results)
        self._show("\n" + step_table(found))

    def _show(self, text: str) -> None:
        self._printed.append(text)
        _print(text)


def _print(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    # A shell ignores the interrupt on behalf of what it runs in the background.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    sys.exit(main())
