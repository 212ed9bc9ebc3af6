"""What the checks need beyond the core: hypothesis. Imported before the modules that use it."""

from importlib.util import find_spec

from sekd_plugin.errors import SekdError


class HypothesisMissingError(SekdError, ImportError):
    """The package hypothesis, which looks for the examples, is not installed."""


if find_spec("hypothesis") is None:
    raise HypothesisMissingError(
        "sekd_plugin.testing needs the package 'hypothesis': pip install 'sekd-plugin[test]'"
    )
