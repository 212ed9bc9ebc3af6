"""A page as Chromium has it after its scripts have run."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

PROGRAM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)

needs_chromium = pytest.mark.skipif(PROGRAM is None, reason="no chromium is on PATH")


def document_of(page: Path, address: str = "", width: int = 1280) -> str:
    """The document, written out as HTML; ``address`` is what follows the file, ``#…`` included."""
    assert PROGRAM is not None
    profile = page.with_name(f"{page.stem}.profile")
    done = subprocess.run(
        [
            *(PROGRAM, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"),
            *("--virtual-time-budget=3000", f"--window-size={width},900"),
            *(f"--user-data-dir={profile}", f"{page.as_uri()}{address}"),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
