"""The pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.statistics import spread

_COLOURS = {
    "dense": "#888888",
    "plain": "#bb8800",
    "peer": "#3366aa",
    "ours": "#228833",
    "bound": "#cccccc",
}
_MIB = 2**20


def draw_points(file: Path, titled: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
    """Bars of time and extra memory, a row for each point."""
    plt = _pyplot()
    height = sum(0.28 * len(result["contenders"]) + 0.9 for _, result in titled)
    figure, axes = plt.subplots(
        len(titled), 2, figsize=(11, height), squeeze=False, layout="constrained"
    )
    for (title, result), (left, right) in zip(titled, axes, strict=True):
        shown = [
            (name, one)
            for name, one in reversed(result["contenders"].items())
            if one.get("seconds") or one.get("extra_bytes") is not None
        ]
        names = [name for name, _ in shown]
        colours = [_COLOURS[one["group"]] for _, one in shown]
        found = [spread([1000 * value for value in one.get("seconds") or [0]]) for _, one in shown]
        around = [[f.median - f.low for f in found], [f.high - f.median for f in found]]
        left.barh(names, [f.median for f in found], xerr=around, color=colours)
        left.set_title(title, fontsize=9, loc="left")
        left.set_xlabel("ms, forward and backward")
        right.barh(names, [one.get("extra_bytes", 0) / _MIB for _, one in shown], color=colours)
        right.set_yticklabels([])
        right.set_xlabel("peak extra memory, MiB")
        right.axvline(result["gradient_bytes"] / _MIB, color="black", lw=0.8, ls=":")
    figure.savefig(file)
    plt.close(figure)


def draw_growth(file: Path, results: Sequence[Mapping[str, Any]], names: Sequence[str]) -> None:
    """Lines of time and memory over tokens and over words."""
    plt = _pyplot()
    jobs = list(dict.fromkeys(result["job"] for result in results))
    figure, axes = plt.subplots(
        len(jobs), 4, figsize=(14, 3 * len(jobs)), squeeze=False, layout="constrained"
    )
    for job, row in zip(jobs, axes, strict=True):
        mine = [result for result in results if result["job"] == job]
        for place, (axis, fixed) in enumerate((("tokens", "vocabulary"), ("vocabulary", "tokens"))):
            common = _most_frequent([result[fixed] for result in mine])
            line = sorted(
                (result for result in mine if result[fixed] == common), key=lambda r: r[axis]
            )
            for offset, key in enumerate(("seconds", "extra_bytes")):
                axes_here = row[2 * place + offset]
                for name in names:
                    pairs = [
                        (result[axis], _figure(result["contenders"][name], key))
                        for result in line
                        if result["contenders"].get(name, {}).get(key) is not None
                    ]
                    if pairs:
                        axes_here.loglog(*zip(*pairs, strict=True), marker="o", label=name)
                axes_here.set_title(f"{job}, {common} {fixed}", fontsize=9)
                axes_here.set_xlabel(axis)
                axes_here.set_ylabel("ms" if key == "seconds" else "extra MiB")
    axes[0][0].legend(fontsize=8)
    figure.savefig(file)
    plt.close(figure)


def _figure(one: Mapping[str, Any], key: str) -> float:
    return 1000 * spread(one[key]).median if key == "seconds" else one[key] / _MIB


def _most_frequent(values: Sequence[int]) -> int:
    return max(values, key=values.count)


def _pyplot() -> Any:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot
