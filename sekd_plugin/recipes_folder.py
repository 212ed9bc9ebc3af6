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
    # In a checkout the recipes lie beside the package, where people look for them.
    checkout = package.parent / "recipes"
    for folder in (installed, checkout):
        if folder.is_dir():
            return folder
    raise SekdError(
        f"the recipes are in neither {installed} nor {checkout}; install sekd-plugin again"
    )
