"""Where the shipped recipes and the sample corpus lie."""

from __future__ import annotations

from pathlib import Path

from sekd_plugin.errors import SekdError


def recipes_folder() -> Path:
    """The folder of shipped recipes, in an installed package and in a checkout alike.

    Raises:
        SekdError: neither place has it; the installation is incomplete.
    """
    package = Path(__file__).resolve().parent
    installed = package / "recipes"
    if installed.is_dir():
        return installed
    # In a checkout the recipes lie beside the package, where people look for them.
    checkout = package.parent
    if (checkout / "pyproject.toml").is_file() and (checkout / "recipes").is_dir():
        return checkout / "recipes"
    raise SekdError(f"{installed}: the shipped recipes are missing; install sekd-plugin again")
