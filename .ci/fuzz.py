"""Every property at 20,000 examples and more, from a seed that is recorded.

    make fuzz                     a new seed
    make fuzz SEED=7              that seed again, without what has passed with it already
    make fuzz FILES=tests/method  only the properties in these files or folders

Each property that is finished is a line in ``runs/fuzz/seed-N.tsv``. Examples that failed once are
kept in ``tests/past_failures`` and tried first.
"""

from __future__ import annotations

import os
import secrets
import shlex
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# The quickest folders first.
EVERYTHING = (
    "tests/method",
    "tests/fused",
    "tests/kernels",
    "tests/caching",
    "tests/thresholds",
    "tests/corpus",
    "tests/training/test_reading_the_corpus.py",
    "tests/decoding",
    "tests/testing",
)


def main() -> int:
    """Run the properties; pytest's exit code."""
    seed = int(os.environ.get("SEED") or secrets.randbelow(2**31))
    files = shlex.split(os.environ.get("FILES") or "") or EVERYTHING
    record = ROOT / "runs" / "fuzz" / f"seed-{seed}.tsv"
    record.parent.mkdir(parents=True, exist_ok=True)
    again = f"make fuzz SEED={seed}"
    begun = time.strftime("%Y-%m-%d %H:%M:%S")
    print(f"fuzz: seed {seed}, {begun}; '{again}' continues or repeats it; {record}", flush=True)
    with record.open("a") as lines:
        lines.write(f"started\tseed {seed}\t{' '.join(files)}\t{begun}\n")
    words = [sys.executable, "-m", "pytest", "-p", "fuzzing", f"--hypothesis-seed={seed}", "-q"]
    words += ["-o", "timeout=0", "-n", os.environ.get("WORKERS") or "2", "--dist", "worksteal"]
    environment = {
        **os.environ,
        "HYPOTHESIS_PROFILE": "fuzz",
        "FUZZ_SEED": str(seed),
        "FUZZ_RECORD": str(record),
        "PYTHONPATH": str(ROOT / "tests" / "workshop"),
    }
    code = subprocess.run([*words, *files], cwd=ROOT, env=environment, check=False).returncode
    # 5: nothing is left to run.
    return 0 if code == 5 else code


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
