"""COMET, for those who have it: a learnt metric with a model of its own.

Its package needs older versions of numpy and protobuf than this one, so it is asked through its
command ``comet-score``, which may live in an environment of its own.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from sekd_plugin.errors import SekdError

COMET_MODEL = "Unbabel/wmt22-comet-da"
_COMMAND = "comet-score"


def find_comet() -> str:
    """The path of the command ``comet-score``: on the PATH, or beside this Python.

    Raises:
        SekdError: there is none; the message says how to get it.
    """
    beside = str(Path(sys.executable).parent)
    found = shutil.which(_COMMAND) or shutil.which(_COMMAND, path=beside)
    if found is None:
        raise SekdError(
            f"COMET is not installed: its command {_COMMAND} is not on the PATH; get it with "
            "'pipx install unbabel-comet', in an environment of its own because it needs an older "
            f"numpy (it downloads the model {COMET_MODEL} when first used)"
        )
    return found


def comet_scores(
    sources: Sequence[str], systems: Mapping[str, Sequence[str]], references: Sequence[str]
) -> dict[str, float]:
    """Each system's COMET score, the mean over the sentences, about in [0, 1].

    Raises:
        SekdError: COMET is not installed, or failed.
    """
    command = find_comet()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        texts = {"src": sources, "ref": references}
        texts |= {f"system_{number}": lines for number, lines in enumerate(systems.values())}
        for stem, lines in texts.items():
            text = "".join(f"{' '.join(line.split())}\n" for line in lines)
            (folder / stem).write_text(text, encoding="utf-8")
        files = [f"system_{number}" for number in range(len(systems))]
        answer = folder / "scores.json"
        arguments = ["-s", "src", "-r", "ref", "-t", *files, "--model", COMET_MODEL]
        arguments += ["--gpus", str(min(1, torch.cuda.device_count()))]
        arguments += ["--quiet", "--only_system", "--to_json", str(answer)]
        done = subprocess.run(
            [command, *arguments], cwd=folder, capture_output=True, text=True, check=False
        )
        if done.returncode != 0 or not answer.is_file():
            last = (done.stderr.strip() or done.stdout.strip() or "it says nothing").splitlines()
            raise SekdError(f"{command} failed with exit code {done.returncode}: {last[-1]}")
        found = json.loads(answer.read_text(encoding="utf-8"))
    return {
        system: sum(row["COMET"] for row in found[file]) / len(found[file])
        for system, file in zip(systems, files, strict=True)
    }
