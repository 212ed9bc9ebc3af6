"""Mutation testing: every small change to the method's code must make a test fail.

Cosmic Ray makes the mutants, in copies of the working tree. What it found is kept in
``runs/mutation``, so that a run that was cut off continues; mutants of a module are tried again
when that module has changed, and survivors when a test has.
"""

from __future__ import annotations

import argparse
import ast
import fcntl
import hashlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
HERE = Path(__file__).resolve().parent
STATE = ROOT / "runs" / "mutation"
COPIED = ("sekd_plugin", "tests", "recipes", "pyproject.toml")
LEAST_SHARE = 0.95
TIMEOUT_S = 60.0
MODULES = (
    "distributions",
    "criterion",
    "divergences/adaptive",
    "divergences/base",
    "divergences/hellinger",
    "divergences/jensen_shannon",
    "divergences/kullback_leibler",
    "divergences/power",
    "divergences/skew",
    "divergences/symmetric",
    "divergences/total_variation",
    "thresholds/base",
    "thresholds/dynamic",
    "thresholds/fixed",
    "thresholds/schedule",
    "thresholds/target_ratio",
    "thresholds/top_k",
    "proxies/base",
    "proxies/detached",
    "proxies/linear",
    "proxies/log_linear",
    "schedules",
    "baselines",
    "base_criterion",
)
CORE = [
    "tests/method/test_contract.py",
    "tests/method/test_settings_by_hand.py",
    "tests/registry",
    "-k",
    "not brings_in_torch",
]
STEERING = "tests/thresholds/test_steering.py"
DEFINITION = ["tests/method/test_invariants.py", "-k", "equals_its_definition or rescale"]
METHOD = [CORE, ["tests/method/test_gradients_by_hand.py"], DEFINITION]
RANGES = "tests/thresholds/test_ranges_and_defaults.py"
ANALYTIC = "tests/method/test_analytic_rows.py"
OVER_RANKS = "tests/thresholds/test_deciding_over_ranks.py"
FUSED = "tests/fused/test_output_projections.py"
LAWS = "tests/testing/test_built_ins_keep_the_laws.py"
# The tests of a module, in groups: those that are quick and notice most come first. The longest
# beginning of a module's name decides.
TESTS: dict[str, list[list[str]]] = {
    "": METHOD,
    "distributions": [["tests/method/test_distributions.py"], [ANALYTIC]],
    "divergences/": [["tests/divergences"], [LAWS, "-k", "kl-"], [ANALYTIC]],
    **{
        f"divergences/{module}": [["tests/divergences", "-k", f"{word} or range"]]
        for module, word in {
            "adaptive": "adaptive or head",
            "hellinger": "hellinger",
            "jensen_shannon": "jensen",
            "power": "alpha or renyi",
            "skew": "skew",
            "symmetric": "symmetric",
            "total_variation": "variation",
        }.items()
    },
    "proxies/": [
        ["tests/method/test_gradients_by_hand.py", ANALYTIC],
        CORE,
        [LAWS, "-k", "proxy"],
        DEFINITION,
    ],
    "base": [
        CORE,
        [STEERING, "-k", "differentiated"],
        ["tests/method/test_gradients_by_hand.py", "tests/method/test_invariants.py"],
        [FUSED],
        [OVER_RANKS, "-k", "not processes"],
        ["tests/thresholds/test_cutting_a_step.py", "-k", "two_ranks"],
    ],
    "schedules": [
        [RANGES, STEERING, "tests/thresholds/test_thresholds.py", "-k", "not ranks"],
        CORE,
    ],
    **{
        f"thresholds/{module}": [
            *(
                [[STEERING], ["tests/thresholds/test_target_ratio.py"]]
                if module == "target_ratio"
                else []
            ),
            [RANGES, "tests/thresholds/test_thresholds.py", "-k", "not ranks"],
            *([[OVER_RANKS, "-k", "not processes"]] if module == "top_k" else []),
            CORE,
            ["tests/thresholds/test_cutting_a_step.py", "-k", "restart or validation or discarded"],
            [LAWS, "-k", f"({module} or top_k_marks) and not every"],
        ]
        for module in ("base", "dynamic", "fixed", "schedule", "target_ratio", "top_k")
    },
}


def main() -> int:
    """Try the mutants, and return 1 where fewer are killed than must be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--modules", nargs="*", default=list(MODULES), choices=MODULES)
    parser.add_argument("--report", action="store_true", help="only show what was found so far")
    chosen = parser.parse_args()
    started = time.monotonic()
    STATE.mkdir(parents=True, exist_ok=True)
    lock = (STATE / "lock").open("w")
    if not chosen.report:
        signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("mutation: another run is at work; --report shows what it found so far")
            return 1
        sessions = [prepare(module) for module in chosen.modules]
        try:
            work(sessions, chosen.workers)
        except KeyboardInterrupt:
            print("\nmutation: interrupted; run the same command again to continue")
            return 130
    return report(chosen.modules, time.monotonic() - started)


# Sessions: one database a module -------------------------------------------------------------


def session_of(module: str) -> Path:
    """The database of a module's mutants."""
    return STATE / f"{module.replace('/', '.')}.sqlite"


def prepare(module: str) -> Path:
    """Bring a module's session up to date."""
    session, source = session_of(module), ROOT / "sekd_plugin" / f"{module}.py"
    stamp = session.with_suffix(".json")
    made_from = {
        "source": hashlib.sha256(source.read_bytes()).hexdigest(),
        "tests": digest_of_tests(),
        "groups": tests_of(module),
    }
    before = json.loads(stamp.read_text()) if stamp.exists() else {}
    if before.get("source") != made_from["source"] or not session.exists():
        session.unlink(missing_ok=True)
        config = write_config(module, "true")
        cosmic_ray(["init", str(config), str(session)], ROOT)
        skip_annotations(session, source)
    elif before != made_from:
        with sqlite3.connect(session) as database:
            database.execute("DELETE FROM work_results WHERE test_outcome = 'SURVIVED'")
    stamp.write_text(json.dumps(made_from))
    return session


def digest_of_tests() -> str:
    """One number for all tests."""
    digest = hashlib.sha256()
    for file in sorted((ROOT / "tests").rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def tests_of(module: str) -> list[list[str]]:
    """The groups of tests of a module."""
    return TESTS[max((key for key in TESTS if module.startswith(key)), key=len)]


def write_config(module: str, command: str, distributor: str = "local") -> Path:
    """The tool's settings for a module."""
    config = session_of(module).with_suffix(".toml")
    config.write_text(
        f'[cosmic-ray]\nmodule-path = "sekd_plugin/{module}.py"\ntimeout = {TIMEOUT_S}\n'
        f"excluded-modules = []\ntest-command = {json.dumps(command)}\n"
        f'[cosmic-ray.distributor]\nname = "{distributor}"\n'
    )
    return config


def cosmic_ray(words: list[str], folder: Path) -> None:
    """Run the tool to its end."""
    subprocess.run([sys.executable, "-m", "cosmic_ray.cli", *words], cwd=folder, check=True)


def skip_annotations(session: Path, source: Path) -> None:
    """Set aside mutants of annotations that nothing reads: only constructors' are."""
    spans = list(unread_annotations(ast.parse(source.read_text())))
    with sqlite3.connect(session) as database:
        rows = database.execute(
            "SELECT job_id, start_pos_row, start_pos_col FROM mutation_specs"
        ).fetchall()
        for job, row, column in rows:
            if any(start <= (row, column) < end for start, end in spans):
                database.execute(
                    "INSERT INTO work_results (worker_outcome, job_id) VALUES ('SKIPPED', ?)",
                    (job,),
                )


def unread_annotations(tree: ast.AST) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Beginning and end of each annotation that is never evaluated."""
    for node in ast.walk(tree):
        found: list[ast.expr | None] = []
        if isinstance(node, ast.FunctionDef):
            found.append(node.returns)
            if node.name != "__init__":
                arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                found += [argument.annotation for argument in arguments]
        elif isinstance(node, ast.AnnAssign):
            found.append(node.annotation)
        for annotation in found:
            if annotation is not None:
                end = (annotation.end_lineno or 0, annotation.end_col_offset or 0)
                yield (annotation.lineno, annotation.col_offset), end


# The work ------------------------------------------------------------------------------------


def work(sessions: list[Path], workers: int) -> None:
    """Try all mutants that have not been tried."""
    waiting = [path for path in sessions if count(path)[1] < count(path)[0]]
    if not waiting:
        return
    folders = [copy_tree(number) for number in range(workers)]
    address = f"/tmp/sekd-mutation-{os.getpid()}"
    warm = subprocess.Popen([sys.executable, HERE / "warm.py", address])
    running: dict[Path, subprocess.Popen[bytes]] = {}
    begun, first, said = time.monotonic(), total(sessions)[1], 0.0
    try:
        while not Path(address).exists():
            if warm.poll() is not None:
                raise SystemExit("mutation: the warm process ended")
            time.sleep(0.1)
        check_unchanged(address, folders[0], sessions)
        while waiting or running:
            for folder in [folder for folder, tool in running.items() if tool.poll() is not None]:
                del running[folder]
            for folder in folders:
                if folder not in running and waiting:
                    running[folder] = start(waiting.pop(0), folder, address)
            if time.monotonic() - said > 10.0:
                said = time.monotonic()
                progress(sessions, first, said - begun)
            time.sleep(0.3)
    finally:
        for tool in running.values():
            tool.terminate()
            tool.wait()
        warm.terminate()
        warm.wait()
        Path(address).unlink(missing_ok=True)


def copy_tree(number: int) -> Path:
    """A copy of what is mutated and of what tests it."""
    folder = STATE / f"copy_{number}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name in COPIED:
        if (ROOT / name).is_dir():
            unwanted = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, folder / name, ignore=unwanted)
        else:
            shutil.copy2(ROOT / name, folder / name)
    # Compiled once, all but the modules that will change under the same time stamp and size.
    subprocess.run(
        [sys.executable, "-m", "compileall", "-q", "sekd_plugin", "tests"], cwd=folder, check=True
    )
    for module in MODULES:
        for compiled in (folder / "sekd_plugin" / module).parent.glob("__pycache__/*.pyc"):
            if compiled.name.startswith(f"{Path(module).name}."):
                compiled.unlink()
    return folder


def command_for(module: str, address: str) -> str:
    """What the tool runs for a mutant of the module."""
    tests = json.dumps(tests_of(module))
    return f"{sys.executable} -I -S {HERE / 'ask.py'} {address} '{tests}'"


def module_of(session: Path) -> str:
    """The module of a session."""
    return session.stem.replace(".", "/")


def check_unchanged(address: str, folder: Path, sessions: list[Path]) -> None:
    """The tests must pass on the code as it is, or every mutant would look killed."""
    checked = STATE / "checked.json"
    before = set(json.loads(checked.read_text())) if checked.exists() else set()
    code = hashlib.sha256(digest_of_tests().encode())
    for file in sorted((ROOT / "sekd_plugin").rglob("*.py")):
        code.update(file.read_bytes())
    groups = {json.dumps(tests_of(module_of(session))) for session in sessions}
    for tests in sorted(groups):
        if code.hexdigest() + tests in before:
            continue
        begun = time.monotonic()
        words = [sys.executable, "-I", "-S", HERE / "ask.py", address, tests]
        answer = subprocess.run(words, cwd=folder, check=False).returncode
        for word in " ".join(word for group in json.loads(tests) for word in group).split():
            if word.startswith("tests/") and not (folder / word).exists():
                raise SystemExit(f"mutation: there is no {word}")
        if answer != 0:
            print((folder / "last_output.txt").read_text(), file=sys.stderr)
            raise SystemExit(f"mutation: these tests fail on the unchanged code: {tests}")
        print(f"mutation: {time.monotonic() - begun:5.1f} s for {tests}", flush=True)
        before.add(code.hexdigest() + tests)
        checked.write_text(json.dumps(sorted(before)))


def start(session: Path, folder: Path, address: str) -> subprocess.Popen[bytes]:
    """Let the tool work through a session in a copy."""
    module = module_of(session)
    config = write_config(module, command_for(module, address))
    words = [sys.executable, "-m", "cosmic_ray.cli", "exec", str(config), str(session)]
    return subprocess.Popen(words, cwd=folder)


# What was found ------------------------------------------------------------------------------


def count(session: Path) -> tuple[int, int, int]:
    """How many mutants there are, were tried, and were killed."""
    with sqlite3.connect(session, timeout=60) as database:

        def number(query: str) -> int:
            return int(database.execute(query).fetchone()[0])

        skipped = "SELECT count(*) FROM work_results WHERE worker_outcome = 'SKIPPED'"
        everything = number("SELECT count(*) FROM work_items") - number(skipped)
        tried = number("SELECT count(*) FROM work_results") - number(skipped)
        survived = number("SELECT count(*) FROM work_results WHERE test_outcome = 'SURVIVED'")
    return everything, tried, tried - survived


def total(sessions: list[Path]) -> tuple[int, int, int]:
    """The same over all sessions."""
    counts = [count(session) for session in sessions]
    return tuple(sum(column) for column in zip(*counts, strict=True))  # type: ignore[return-value]


def progress(sessions: list[Path], first: int, seconds: float) -> None:
    """One line about what goes on."""
    everything, tried, killed = total(sessions)
    rest = seconds / max(tried - first, 1) * (everything - tried) / 60.0
    left = f", about {rest:.0f} min left" if tried > first else ""
    print(
        f"mutation: {tried} of {everything} tried, {tried - killed} survived{left}",
        flush=True,
    )


def report(modules: list[str], seconds: float) -> int:
    """The survivors, and the table."""
    print()
    for module in modules:
        for line in survivors(module):
            print(line)
    print(f"\n{'module':34}{'mutants':>8}{'killed':>8}{'share':>8}")
    sums = [0, 0, 0]
    for module in modules:
        if not session_of(module).exists():
            continue
        counts = count(session_of(module))
        sums = [a + b for a, b in zip(sums, counts, strict=True)]
        print(row(module, *counts))
    print(row("all", *sums))
    print(f"mutation: {time.strftime('%Y-%m-%d')}, {seconds / 60:.1f} min in this run")
    if sums[1] < sums[0]:
        print(f"mutation: {sums[0] - sums[1]} mutants were not tried")
        return 1
    return 0 if sums[2] >= LEAST_SHARE * sums[0] else 1


def row(name: str, everything: int, tried: int, killed: int) -> str:
    """A line of the table."""
    share = f"{100.0 * killed / everything:.1f} %" if everything else "–"
    rest = f"  ({everything - tried} not tried)" if tried < everything else ""
    return f"{name:34}{everything:8}{killed:8}{share:>8}{rest}"


def survivors(module: str) -> Iterator[str]:
    """What no test noticed: the line before and after."""
    if not session_of(module).exists():
        return
    with sqlite3.connect(session_of(module), timeout=60) as database:
        found = database.execute(
            "SELECT start_pos_row, diff FROM work_results JOIN mutation_specs USING (job_id) "
            "WHERE test_outcome = 'SURVIVED' ORDER BY start_pos_row, start_pos_col"
        ).fetchall()
    for line, diff in found:
        changed = [
            text.strip()
            for text in (diff or "").splitlines()
            if text[:1] in "+-" and text[:3] not in ("+++", "---")
        ]
        yield f"survived: {module}.py:{line}"
        yield from (f"    {text}" for text in changed)


if __name__ == "__main__":
    sys.exit(main())
