"""Conformance checks for your own divergences, thresholds and proxies.

Plain functions for any test suite; what a component must keep is listed at each of them::

    from sekd_plugin.testing import check_divergence

    def test_my_divergence():
        check_divergence(MyDivergence(order=2.0))

A broken law raises :class:`LawBrokenError`, an ``AssertionError`` that names the law, shows the
smallest example that breaks it, and what was got and expected. The examples are the same in
every run. The strategies that make them are public, for tests of your own.

Needs hypothesis: ``pip install 'sekd-plugin[test]'``.
"""

from sekd_plugin.testing.requirement import HypothesisMissingError

# isort: split
from sekd_plugin.testing.divergence_laws import check_divergence
from sekd_plugin.testing.laws import LawBrokenError
from sekd_plugin.testing.proxy_laws import check_proxy
from sekd_plugin.testing.strategies import (
    ALL_KINDS,
    difficulties,
    log_probability_row,
    log_probability_rows,
    logit_row,
    logit_rows,
)
from sekd_plugin.testing.threshold_laws import check_threshold

__all__ = [
    "ALL_KINDS",
    "HypothesisMissingError",
    "LawBrokenError",
    "check_divergence",
    "check_proxy",
    "check_threshold",
    "difficulties",
    "log_probability_row",
    "log_probability_rows",
    "logit_row",
    "logit_rows",
]
