"""A pytest plug-in for ``make fuzz``: property tests alone, and a note of each that is finished.

``FUZZ_SEED`` is the seed. ``FUZZ_RECORD`` is a file that gets a line for each property; those that
passed are left out by the next run with the same seed.
"""

import os
import time
from pathlib import Path

import pytest

RECORD = Path(os.environ["FUZZ_RECORD"])


def finished():
    """The properties that passed with this seed."""
    lines = RECORD.read_text().splitlines() if RECORD.exists() else []
    return {line.split("\t")[2] for line in lines if line.split("\t")[0] == "passed"}


def is_property(item):
    return item.get_closest_marker("laws") is not None or getattr(
        item.function, "is_hypothesis_test", False
    )


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    done = finished()
    chosen = [item for item in items if is_property(item) and item.nodeid not in done]
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = chosen


def pytest_runtest_logreport(report):
    # Reports of workers arrive here a second time, in the process that started them.
    if report.when != "call" or "PYTEST_XDIST_WORKER" in os.environ:
        return
    now = time.strftime("%Y-%m-%d %H:%M:%S")
    line = f"{report.outcome}\t{report.duration:.1f} s\t{report.nodeid}\t{now}"
    with RECORD.open("a") as record:
        record.write(f"{line}\n")
    print(f"\n{line}", flush=True)
