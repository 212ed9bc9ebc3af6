"""The device that is asked for by name."""

from __future__ import annotations

import torch

from sekd_plugin.errors import ConfigError


def chosen_device(name: str | None) -> torch.device:
    """The device of that name; of None, CUDA where there is one.

    Raises:
        ConfigError: it is not ``cpu`` or ``cuda:N``, or is not there.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        raise ConfigError("device", f"'{name}' is not a device; write cpu, cuda or cuda:0")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        found = torch.cuda.device_count() or "no"
        raise ConfigError("device", f"{name} was asked for, but {found} CUDA device is found")
    return device
