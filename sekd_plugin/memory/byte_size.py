"""Sizes in bytes, as people write them and as they are shown."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sekd_plugin.errors import ConfigError

_UNITS = {
    "": 1,
    "B": 1,
    **{f"{prefix}B": 1000**power for power, prefix in enumerate("KMGT", 1)},
    **{f"{prefix}iB": 1024**power for power, prefix in enumerate("KMGT", 1)},
}


def parse_bytes(key: str, text: str) -> int:
    """``80GiB`` (1024³) or ``80GB`` (1000³) as bytes; a number alone is bytes.

    Raises:
        ConfigError: it is no size.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text)
    if found is None or found[2] not in _UNITS:
        raise ConfigError(key, f"'{text}' is not a size; write 80GiB, 24GB or a number of bytes")
    return int(float(found[1]) * _UNITS[found[2]])


@dataclass(frozen=True)
class Unit:
    """What sizes are shown in."""

    name: str
    """``MiB`` or ``GiB``."""

    num_bytes: int
    """How many bytes it is."""

    def show(self, num_bytes: int) -> str:
        """A size in this unit, with two decimals."""
        return f"{num_bytes / self.num_bytes:.2f}"


def unit_of(num_bytes: int) -> Unit:
    """The unit for sizes up to ``num_bytes``: GiB from one of them on."""
    return Unit("GiB", 2**30) if num_bytes >= 2**30 else Unit("MiB", 2**20)
