"""Faults are done to real runs here: ``make faults``, not ``make test``, collects these files.

Each writes down what it measured; the figures stand at the end of the output.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from tiny_recipe import shared_folder, taught, teacher_run, workshop

__all__ = ["shared_folder", "taught", "teacher_run", "workshop"]

FIGURES = pytest.StashKey[list[str]]()


@pytest.fixture
def figure(request):
    """Writes down a line of figures for the end of the output."""

    def write(text):
        request.config.stash.setdefault(FIGURES, []).append(f"{request.node.name}: {text}")

    return write


def pytest_terminal_summary(terminalreporter, config):
    lines = config.stash.get(FIGURES, [])
    if lines:
        terminalreporter.section("figures")
    for line in lines:
        terminalreporter.line(line)


class SmallDisk:
    """A file system in memory that can be made larger."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def resize(self, size: str) -> None:
        command = ["mount", "-o", f"remount,size={size}", str(self.folder)]
        subprocess.run(command, check=True, capture_output=True)


@pytest.fixture
def small_disk(tmp_path):
    """A disk of two megabytes; where it cannot be mounted, the test is left out and says why."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("there is no mount command here")
    if mounted.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted (it takes root): {mounted.stderr.strip()}")
    yield SmallDisk(folder)
    # Lazily: a training in this process has left its log open.
    subprocess.run(["umount", "--lazy", str(folder)], check=True)
