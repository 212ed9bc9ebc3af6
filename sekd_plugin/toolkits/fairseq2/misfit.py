"""A checkpoint that is not the model that a recipe describes, in one line."""

from __future__ import annotations

from sekd_plugin.errors import ConfigError


def misfit(section: str, error: BaseException) -> ConfigError:
    """What to tell of a model's checkpoint that could not be loaded.

    Args:
        section: the recipe's section of the model.
        error: what loading it raised; its first cause says most.
    """
    while error.__cause__ is not None:
        error = error.__cause__
    reason = " ".join(str(error).split())
    return ConfigError(
        f"{section}.path",
        f"the checkpoint does not fit {section}.config_overrides, or is damaged: {reason}",
    )
