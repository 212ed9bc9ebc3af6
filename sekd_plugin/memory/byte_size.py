"""Sizes in bytes, as people write them and as they are shown."""

from __future__ import annotations

import re

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


def gibibytes(num_bytes: int) -> str:
    """Bytes in units of 1024³, with two decimals."""
    return f"{num_bytes / 1024**3:.2f}"
