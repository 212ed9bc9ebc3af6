"""Settings that every test runs under."""

import os
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, Phase, settings
from hypothesis.database import DirectoryBasedExampleDatabase

# Property tests run over matrices: their time says nothing about their health.
settings.register_profile(
    "ci",
    deadline=None,
    derandomize=True,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "fuzz",
    deadline=None,
    max_examples=int(os.environ.get("FUZZ_EXAMPLES") or 20_000),
    print_blob=True,
    database=DirectoryBasedExampleDatabase(Path(__file__).parent / "past_failures"),
    suppress_health_check=[HealthCheck.too_slow],
)
# As many examples as usual; that there is one that fails is all that a mutant's end takes.
settings.register_profile(
    "mutation",
    settings.get_profile("ci"),
    phases=(Phase.explicit, Phase.generate),
    report_multiple_bugs=False,
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

# Workers share few cores; more threads than that only wait for each other. fairseq2 sets their
# number once more unless this variable is there, and a child forked beside such threads hangs.
os.environ.setdefault("OMP_NUM_THREADS", "1")
torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test's name holds no address: workers that collect must find the same names."""
    for item in items:
        if " at 0x" in item.nodeid:
            raise pytest.UsageError(f"{item.nodeid}: name its parameters with ids=…")
