"""How each number is called on the console, in JSONL and in TensorBoard."""

from __future__ import annotations

from fairseq2.metrics.formatters import format_as_float, format_as_int
from fairseq2.metrics.recorders import MetricDescriptor
from fairseq2.runtime.dependency import DependencyContainer

DESCRIPTORS = (
    MetricDescriptor("loss", "Loss", 90, format_as_float),
    MetricDescriptor("cross_entropy", "Cross-Entropy", 91, format_as_float),
    MetricDescriptor("difficulty", "Difficulty", 92, format_as_float),
    MetricDescriptor("difficulty_p50", "Difficulty p50", 93, format_as_float),
    MetricDescriptor("difficulty_p90", "Difficulty p90", 94, format_as_float),
    MetricDescriptor("difficulty_p99", "Difficulty p99", 95, format_as_float),
    MetricDescriptor("gamma", "Gamma", 96, format_as_float),
    MetricDescriptor("beta", "Beta", 97, format_as_float),
    MetricDescriptor("hard_ratio", "Hard Ratio", 98, format_as_float),
    MetricDescriptor("loss_hard", "Loss of Hard Tokens", 99, format_as_float),
    MetricDescriptor("loss_easy", "Loss of Easy Tokens", 100, format_as_float),
    MetricDescriptor("agreement", "Teacher Agreement", 101, format_as_float, higher_better=True),
    MetricDescriptor("num_skipped", "Number of Skipped Sentences", 802, format_as_int),
    MetricDescriptor("total_num_skipped", "Total Number of Skipped Sentences", 860, format_as_int),
    MetricDescriptor("total_num_overflows", "Total Number of Overflows", 861, format_as_int),
    MetricDescriptor("elements_per_second", "Tokens per Second", 810, format_as_int),
)


def register_descriptors(container: DependencyContainer) -> None:
    """Give every metric of ours its shown name."""
    for descriptor in DESCRIPTORS:
        container.collection.register_instance(MetricDescriptor, descriptor)
