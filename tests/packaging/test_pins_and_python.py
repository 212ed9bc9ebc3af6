"""Every pin can be installed with the oldest Python that the package is for."""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[2]
PINS = re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "constraints.txt").read_text("utf-8"), re.M)


def oldest_python():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    (lowest,) = re.findall(r">=\s*([\d.]+)", project["requires-python"])
    return f"{lowest}.0"


def wanted_pythons():
    for name, version in PINS:
        try:
            found = metadata(name)
        except PackageNotFoundError:
            continue  # of an extra that the tests do without
        pythons = found.get("Requires-Python")
        if found["Version"] == version and pythons:
            yield f"{name}=={version}", SpecifierSet(pythons)


def test_no_pin_asks_for_a_newer_python_than_the_package():
    wanted = dict(wanted_pythons())
    assert len(wanted) > 50, "most of the pins are installed where the tests run"
    oldest = oldest_python()
    assert [pin for pin, pythons in wanted.items() if oldest not in pythons] == []
