"""The processes that a launcher started, by their ranks."""

from __future__ import annotations

from pathlib import Path


def rank_processes(launcher):
    """Rank → process id, of the children of the process ``launcher``."""
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal():
            continue
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent != launcher:
                continue
            variables = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue  # it ended meanwhile
        for variable in variables:
            if variable.startswith(b"RANK="):
                found[int(variable[5:])] = int(folder.name)
    return found
