"""What tensors give back is used again, without the system filling it with zeros each time."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import sekd_plugin.commands.train
from sekd_plugin.freed_memory import keep_freed_memory

PROGRAM = Path(__file__).parents[1] / "workshop" / "page_faults.py"
PAGES = 20 * 12_000_000 // os.sysconf("SC_PAGE_SIZE")
"""What a round of that program fills."""

needs_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told")


def page_faults(what, **environment):
    bare = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD"))
    }
    found = subprocess.run(
        [sys.executable, str(PROGRAM), what],
        env={**bare, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    is_kept, count = found.stdout.split()
    return is_kept == "True", int(count)


@needs_glibc
def test_steps_of_a_kind_ask_the_system_for_no_new_memory():
    is_kept, count = page_faults("keep")
    assert is_kept
    assert count < 0.01 * PAGES
    assert page_faults("leave")[1] > 0.9 * PAGES, "there was nothing to be gained"


@pytest.mark.parametrize("setting", ["MALLOC_ARENA_MAX", "GLIBC_TUNABLES", "LD_PRELOAD"])
def test_what_the_user_has_said_of_memory_stays(setting, monkeypatch):
    monkeypatch.setenv(setting, "")
    assert keep_freed_memory() is False


@pytest.mark.parametrize("device", ["cpu", None])
def test_training_on_a_cpu_keeps_it(device, workshop, monkeypatch):
    if device is not None:
        monkeypatch.setenv("FAIRSEQ2_DEVICE", device)
    elif torch.cuda.is_available():
        pytest.skip("it would train on the GPU")
    asked = []
    monkeypatch.setattr(sekd_plugin.commands.train, "keep_freed_memory", lambda: asked.append(True))
    workshop.train("run", "regime.num_steps=1")
    assert asked == [True]
