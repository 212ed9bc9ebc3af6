"""Γ and the hard ratio of each threshold over the recorded training runs."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from chart import STYLES, chart_style, panels, svg
from replay import RUNS, recorded, replay

Settings = Mapping[str, object]

EXAMPLES: Mapping[str, Mapping[str, Settings]] = {
    "fixed": {"gamma: 1": {"gamma": 1.0}, "gamma: 3": {"gamma": 3.0}},
    "dynamic": {
        "statistic: mean": {"statistic": "mean"},
        "quantile: 0.7": {"statistic": "quantile", "quantile": 0.7},
        "quantile: 0.7, momentum: 0.99": {
            "statistic": "quantile",
            "quantile": 0.7,
            "momentum": 0.99,
        },
    },
    "top_k": {"ratio: 0.3": {"ratio": 0.3}, "ratio: 0.1": {"ratio": 0.1}},
    "schedule": {
        "Γ from 4 to 1": {"start": 4.0, "end": 1.0, "num_steps": 200},
        "ratio from 0.1 to 0.5": {
            "start": 0.1,
            "end": 0.5,
            "num_steps": 200,
            "quantity": "ratio",
        },
    },
    "target_ratio": {
        "ratio: 0.3": {"ratio": 0.3},
        "ratio from 0.1 to 0.5": {"ratio": {"start": 0.1, "end": 0.5, "num_steps": 200}},
    },
}
"""What is drawn of each threshold: label → settings."""


def threshold_picture(name: str) -> str:
    """The SVG of one threshold: Γ above, the hard ratio below, a column for each run."""
    with chart_style():
        figure, axes = panels(2, len(RUNS), 8.6, 4.6)
        for column, (run, title) in enumerate(RUNS.items()):
            above, below = axes[column], axes[column + len(RUNS)]
            difficulties = recorded(run)
            steps = range(1, len(difficulties) + 1)
            middle = torch.quantile(difficulties, 0.5, dim=1)
            high = torch.quantile(difficulties, 0.9, dim=1)
            above.fill_between(
                steps, middle, high, color="#DDDDDD", label="50th to 90th percentile of d"
            )
            for (color, dashes), (label, config) in zip(
                STYLES, EXAMPLES[name].items(), strict=False
            ):
                seen = replay({"name": name, "config": config}, difficulties)
                above.plot(steps, seen.gamma, color=color, ls=dashes, lw=1.2, label=label)
                below.plot(steps, seen.hard_ratio, color=color, ls=dashes, lw=1.2)
            above.set(title=title, ylim=(0.0, None))
            below.set(ylim=(0.0, 1.0), xlabel="optimizer step")
        axes[0].set_ylabel(f"Γ of {name}")
        axes[len(RUNS)].set_ylabel("share of hard tokens")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=8)
        return svg(figure)
