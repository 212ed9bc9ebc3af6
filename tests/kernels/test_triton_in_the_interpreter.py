"""The tests of the Triton kernels where there is no GPU, in Triton's interpreter.

In a process of its own: Triton must be told before it is imported, and other tests want it as it
is.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("triton")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU, where the tests run as such")
@pytest.mark.slow
def test_the_kernels_pass_their_tests_in_the_interpreter():
    tests = Path(__file__).with_name("test_triton_passes.py")
    root = Path(__file__).parents[2]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", tests],
        cwd=root,
        env={**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-5000:] + run.stderr[-2000:]
    assert "skipped" not in run.stdout


def test_importing_the_package_leaves_triton_alone():
    code = "import sys, sekd_plugin; sys.exit('triton' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
