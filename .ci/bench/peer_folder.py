"""Others' packages, in a folder of their own that is put last on the path.

They are the extra ``bench``, at the versions that ``constraints.txt`` pins, installed without what
they ask for: TRL's ``datasets`` wants an older fsspec than the set-up has, so no environment holds
both, and a folder at the end of the path can change nothing that is installed already. The extra
names what TRL's kernel truly imports.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDER = ROOT / "runs" / "bench" / "peers"
_CONSTRAINTS = ROOT / "constraints.txt"
_STAMP = ".installed"


def install_peers() -> str | None:
    """Bring the folder up to date; what went wrong, if something did."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["optional-dependencies"]["bench"]
    made_from = _made_from(wanted)
    stamp = FOLDER / _STAMP
    if stamp.is_file() and stamp.read_text() == made_from:
        return None
    print("bench: installing others' packages; once, some 200 megabytes", flush=True)
    beside = FOLDER.with_name(f"peers.{os.getpid()}")
    words = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-input"]
    words += ["--constraint", str(_CONSTRAINTS), "--target", str(beside), *wanted]
    try:
        run = subprocess.run(words, capture_output=True, text=True, check=False)
        if run.returncode != 0:
            lines = [line for line in run.stderr.splitlines() if line.startswith("ERROR")]
            return lines[-1] if lines else f"pip ended with {run.returncode}"
        (beside / _STAMP).write_text(made_from)
        shutil.rmtree(FOLDER, ignore_errors=True)
        beside.rename(FOLDER)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return None


def use_peers() -> None:
    """Let this process import them."""
    if FOLDER.is_dir() and str(FOLDER) not in sys.path:
        sys.path.append(str(FOLDER))


def _made_from(wanted: list[str]) -> str:
    names = [word.split(">=")[0] for word in wanted]
    pins = [line for line in _CONSTRAINTS.read_text().splitlines() if line.split("==")[0] in names]
    return hashlib.sha256("\n".join([sys.version, *wanted, *pins]).encode()).hexdigest()
