"""A comparison of systems as one self-contained HTML page: no script, nothing from the network."""

from sekd_plugin.analysis.report.page import render_page
from sekd_plugin.analysis.report.results import (
    Comparison,
    DifficultyHistogram,
    Example,
    Provenance,
    ReportResults,
    Run,
    System,
)

__all__ = [
    "Comparison",
    "DifficultyHistogram",
    "Example",
    "Provenance",
    "ReportResults",
    "Run",
    "System",
    "render_page",
]
