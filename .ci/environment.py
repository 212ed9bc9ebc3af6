"""Brings ``.venv`` beside ``pyproject.toml`` to what the project needs, or to one clear line.

A stamp in ``.venv`` remembers what it was made from, so that a second run ends at once; a run that
was cut off leaves no stamp, and the next one continues with what is there.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
LOG = VENV / "setup.log"
STAMP = VENV / "setup.stamp"
CONSTRAINTS = ROOT / "constraints.txt"
EXTRAS = "docs,fairseq2,report,test"

SNDFILE = "libsndfile.1.dylib" if platform.system() == "Darwin" else "libsndfile.so.1"
# How each package manager installs libsndfile; tried in this order, as root only.
SNDFILE_PACKAGES: dict[str, list[list[str]]] = {
    "apt-get": [["update"], ["install", "-y", "libsndfile1"]],
    "dnf": [["install", "-y", "libsndfile"]],
    "microdnf": [["install", "-y", "libsndfile"]],
    "zypper": [["--non-interactive", "install", "libsndfile1"]],
    "pacman": [["-Sy", "--noconfirm", "libsndfile"]],
}
# Downloads from this size on are announced: the others pass in a moment.
ANNOUNCED_MEGABYTES = 50.0
AGAIN = "run the same command again to continue"

# What a line of pip's log says about a failure; an earlier row is nearer to the cause.
REASONS: tuple[tuple[str, str], ...] = (
    (r"No space left on device", "the disk is full"),
    (r"after connection broken by '(\w+)", "no connection to the package index, {}"),
    (
        r"(?:requested \(constraint\)|satisfies the requirement) (\S+)",
        "it found no {} that fits",
    ),
    (r"(?i)\berror: (?!subprocess)(.+)", "{}"),
)


class SetupError(Exception):
    """A step that failed; the text is one line that says what to do."""


def main() -> int:
    """Set up and return the exit code."""
    try:
        VENV.mkdir(exist_ok=True)
        with only_one_at_a_time():
            set_up()
    except (SetupError, OSError) as error:
        print(f"set-up: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"set-up: interrupted; {AGAIN}", file=sys.stderr)
        return 130
    return 0


def set_up() -> None:
    """Do what is still to be done."""
    if stamp() == wanted():
        return
    started = time.monotonic()
    create_environment()
    remove_half_installed()
    say("installing pinned packages; the first time some gigabytes and minutes")
    backend = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    if backend:
        pip("the build backend", "install", *backend)
    pip(
        "the pinned packages",
        "install",
        "--no-build-isolation",
        "--editable",
        f"{ROOT}[{EXTRAS}]",
    )
    provide_sndfile()
    check_imports()
    write_stamp()
    say(f"ready in {time.monotonic() - started:.0f} s")


# The stamp -----------------------------------------------------------------------------------


def wanted() -> dict[str, str]:
    """What a finished environment is made from."""
    content = hashlib.sha256()
    for file in (ROOT / "pyproject.toml", CONSTRAINTS, Path(__file__)):
        content.update(hashlib.sha256(file.read_bytes()).digest())
    return {"root": str(ROOT), "python": venv_version(), "content": content.hexdigest()}


def stamp() -> dict[str, str]:
    """What the environment was made from; empty if it was never finished."""
    try:
        found = json.loads(STAMP.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write_stamp() -> None:
    """Remember that the environment is finished."""
    beside = STAMP.with_suffix(".new")
    beside.write_text(json.dumps(wanted(), indent=2) + "\n")
    os.replace(beside, STAMP)


def venv_version() -> str:
    """The version of the environment's Python; empty if it doesn't run."""
    try:
        run = subprocess.run(
            [PYTHON, "-I", "-c", "import sys; print(sys.version)"],
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return ""
    return run.stdout.strip() if run.returncode == 0 else ""


# The steps -----------------------------------------------------------------------------------


def create_environment() -> None:
    """Create ``.venv``, or make anew one that can't be continued."""
    made_at = stamp().get("root", str(ROOT))
    moved = made_at != str(ROOT)
    if venv_version() and not moved and works("-m", "pip", "--version"):
        return
    say(f"creating {VENV} with Python {platform.python_version()}")
    # A moved environment's commands name the old place, and a vanished Python can't be upgraded.
    clear = ["--clear"] if moved or (PYTHON.is_symlink() and not venv_version()) else []
    with tempfile.TemporaryFile("w+") as output:
        made = subprocess.run(
            [sys.executable, "-m", "venv", *clear, VENV], stdout=output, stderr=output, check=False
        )
        output.seek(0)
        lines = output.read().split("\n")
    if made.returncode != 0 or not works("-m", "pip", "--version"):
        reason = next((line for line in reversed(lines) if line.strip()), "no reason given")
        raise SetupError(f"{sys.executable} can't create {VENV} ({reason.strip()}); {AGAIN}")


def remove_half_installed() -> None:
    """Forget packages whose installation was cut off, so that pip installs them again."""
    for metadata in VENV.glob("lib/python*/site-packages/*.dist-info"):
        if not (metadata / "RECORD").is_file():
            shutil.rmtree(metadata)


def pip(what: str, command: str, *arguments: str | Path) -> None:
    """Run pip with the project's pins; its own words go to the log."""
    words: list[str | Path] = [PYTHON, "-I", "-m", "pip", command, "--no-input", "--constraint"]
    words += [CONSTRAINTS, "--progress-bar", "off", *arguments]
    found: dict[int, str] = {}
    with LOG.open("a", encoding="utf-8") as log, running(words) as process:
        assert process.stdout is not None
        for line in process.stdout:
            log.write(line)
            announce(line)
            for rank, (pattern, text) in enumerate(REASONS):
                if match := re.search(pattern, line):
                    found.setdefault(rank, text.format(*match.groups()))
    if process.returncode != 0:
        reason = found[min(found)] if found else f"exit code {process.returncode}"
        raise SetupError(
            f"pip could not {command} {what} ({reason}); its log is {LOG}; once that is mended, "
            f"{AGAIN}"
        )


@contextmanager
def running(words: Sequence[str | Path]) -> Iterator[subprocess.Popen[str]]:
    """A child process whose output is read line by line, ended with this one."""
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )
    try:
        yield process
        process.wait()
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()


def announce(line: str) -> None:
    """Repeat the lines of pip that explain a wait."""
    download = re.match(r"\s*Downloading (?:\S*/)?(\w+-[^-\s]+)\S* \(([\d.]+) (MB|GB)\)", line)
    if download:
        name, size, unit = download.groups()
        if unit == "GB" or float(size) >= ANNOUNCED_MEGABYTES:
            say(f"downloading {name}, {size} {unit}")
    elif line.startswith("Installing collected packages") and "," in line:
        say(f"installing {line.count(',') + 1} packages")


def provide_sndfile() -> None:
    """See to the C library that fairseq2 loads: the system's, or one in ``.venv/lib``."""
    if sndfile_loads():
        return
    if os.geteuid() == 0:
        say("installing libsndfile with the system's package manager")
        install_sndfile_package()
        if sndfile_loads():
            return
    say("taking libsndfile out of the soundfile wheel")
    with tempfile.TemporaryDirectory(dir=VENV) as folder:
        pip(
            "libsndfile",
            "download",
            "--no-deps",
            "--only-binary=:all:",
            "--dest",
            folder,
            "soundfile",
        )
        for wheel in Path(folder).glob("*.whl"):
            extract_sndfile(wheel, VENV / "lib" / SNDFILE)
    if not sndfile_loads():
        raise SetupError(
            "libsndfile can't be loaded; install it with the system's package manager "
            f"(on Debian and Ubuntu: apt-get install libsndfile1) and {AGAIN}"
        )


def sndfile_loads() -> bool:
    """Whether the library is where fairseq2 looks: the system's paths, then ``.venv/lib``."""
    return any(
        works("-c", f"import ctypes; ctypes.CDLL({str(place)!r})")
        for place in (SNDFILE, VENV / "lib" / SNDFILE)
    )


def install_sndfile_package() -> None:
    """Ask the first package manager there is; a failure is no matter, there is another way."""
    for manager, commands in SNDFILE_PACKAGES.items():
        if shutil.which(manager) is None:
            continue
        with LOG.open("a", encoding="utf-8") as log:
            for command in commands:
                try:
                    subprocess.run(
                        [manager, *command],
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
                        timeout=180,
                        check=False,
                    )
                except (OSError, subprocess.TimeoutExpired) as error:
                    log.write(f"{error}\n")
        return


def extract_sndfile(wheel: Path, target: Path) -> None:
    """Write the shared library that the ``soundfile`` wheel carries to ``target``."""
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if re.fullmatch(r"_soundfile_data/libsndfile.*\.(so|dylib)", name):
                beside = target.with_suffix(".new")
                beside.write_bytes(archive.read(name))
                os.replace(beside, target)
                return


def check_imports() -> None:
    """Import what everything else rests on."""
    run = subprocess.run(
        [PYTHON, "-I", "-c", "import fairseq2, sekd_plugin"],
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode != 0:
        reason = run.stderr.strip().rsplit("\n", 1)[-1]
        raise SetupError(f"the installed packages don't work ({reason}); remove {VENV} and {AGAIN}")


# Small things --------------------------------------------------------------------------------


@contextmanager
def only_one_at_a_time() -> Iterator[None]:
    """Hold the lock of the environment, so that two set-ups don't write it at once."""
    with (VENV / "setup.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another set-up to end")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def works(*arguments: str) -> bool:
    """Whether the environment's Python runs this without an error."""
    try:
        run = subprocess.run([PYTHON, "-I", *arguments], capture_output=True, check=False)
    except OSError:
        return False
    return run.returncode == 0


def say(what: str) -> None:
    """One line about what goes on."""
    print(f"set-up: {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
