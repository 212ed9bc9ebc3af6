"""Thresholds: which tokens are hard."""

from sekd_plugin.thresholds.base import (
    KnownGamma,
    Threshold,
    implied_gamma,
    register_threshold,
    thresholds,
)
from sekd_plugin.thresholds.dynamic import DynamicThreshold
from sekd_plugin.thresholds.fixed import FixedThreshold
from sekd_plugin.thresholds.schedule import ScheduleThreshold
from sekd_plugin.thresholds.target_ratio import TargetRatioThreshold
from sekd_plugin.thresholds.top_k import TopKThreshold

__all__ = [
    "DynamicThreshold",
    "FixedThreshold",
    "KnownGamma",
    "ScheduleThreshold",
    "TargetRatioThreshold",
    "Threshold",
    "TopKThreshold",
    "implied_gamma",
    "register_threshold",
    "thresholds",
]
