"""The score table, and what it says in plain words."""

from __future__ import annotations

from collections.abc import Sequence

from sekd_plugin.analysis.report.markup import Markup, join, tag
from sekd_plugin.analysis.report.results import Comparison, ReportResults, System

SIGNIFICANT = 0.05
_LOWER_IS_BETTER = frozenset({"TER"})


def score_table(results: ReportResults) -> Markup:
    """One row a system: parameters, scores, and BLEU against each baseline."""
    metrics = list(results.systems[0].scores)
    first = metrics[0]
    head = [
        tag("th", "system"),
        tag("th", "parameters"),
        *(tag("th", metric) for metric in metrics),
    ]
    head += [tag("th", f"{first} − {name}") for name in results.baselines]
    rows = [_row(system, metrics, results.baselines) for system in results.systems]
    table = tag("table", tag("thead", tag("tr", *head)), tag("tbody", *rows))
    return tag("div", table, class_="wide")


def _row(system: System, metrics: Sequence[str], baselines: Sequence[str]) -> Markup:
    name = tag("td", tag("strong", system.name), tag("small", system.role))
    cells = [name, tag("td", f"{system.parameters / 1e6:.2f} M")]
    cells += [tag("td", f"{system.scores[metric]:.2f}") for metric in metrics]
    for baseline in baselines:
        found = system.comparisons.get(baseline, {}).get(metrics[0])
        cells.append(tag("td", "–") if found is None else _difference(found))
    return tag("tr", *cells)


def _difference(found: Comparison) -> Markup:
    known = found.p_value < SIGNIFICANT
    look = ("better" if found.difference > 0 else "worse") if known else None
    interval = f"{_signed(found.low)} to {_signed(found.high)}; p = {found.p_value:.3f}"
    return tag("td", tag("span", _signed(found.difference), class_=look), tag("small", interval))


def reading(results: ReportResults, names: Sequence[str]) -> Markup:
    """What the numbers say of the systems ``names``, in sentences formed from the numbers.

    Each is compared with every baseline; a difference counts where p < 0.05.
    """
    systems = {system.name: system for system in results.systems}
    metric = next(iter(results.systems[0].scores))
    sentences = []
    for name in names:
        for baseline in results.baselines:
            found = systems[name].comparisons.get(baseline, {}).get(metric)
            if found is not None:
                sentences.append(tag("li", _sentence(name, baseline, metric, found)))
    return tag("ul", join(sentences))


def _sentence(name: str, baseline: str, metric: str, found: Comparison) -> str:
    size = f"{abs(found.difference):.2f} {metric}"
    evidence = (
        f"95 % interval {_signed(found.low)} to {_signed(found.high)}, p = {found.p_value:.3f}"
    )
    if found.p_value >= SIGNIFICANT:
        return (
            f"{name} and {baseline} cannot be told apart on this test set: they differ by {size} "
            f"({evidence})."
        )
    way = "better" if (found.difference > 0) != (metric in _LOWER_IS_BETTER) else "worse"
    return f"{name} is {way} than {baseline} by {size}, and not by chance ({evidence})."


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")
