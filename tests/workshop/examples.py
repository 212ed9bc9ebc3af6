"""How many examples a property that is slow is tried on."""

import os

from hypothesis import settings


def fewer(number):
    """That many in a usual run, and as many as any other under ``make fuzz``."""
    return settings.default.max_examples if "FUZZ_SEED" in os.environ else number
