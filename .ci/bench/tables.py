"""What is printed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.statistics import quantile, ratios
from bench.targets import OURS, Verdict

_MIB = 2**20


def point_table(title: str, result: Mapping[str, Any]) -> str:
    """All contenders at a point; ratios are to ours, above one where ours is faster or smaller."""
    contenders: Mapping[str, Mapping[str, Any]] = result["contenders"]
    ours = contenders.get(OURS, {})
    base, own_bytes = ours.get("seconds"), ours.get("extra_bytes")
    hard = f", {100 * result['hard_share']:.0f} % hard" if "hard_share" in result else ""
    lines = [
        f"{title}, {result['dtype']}{hard}",
        f"one model's logits {_mib(result['logits_bytes'])} MiB, "
        f"the gradients {_mib(result['gradient_bytes'])} MiB",
    ]
    rows = [["", "computes", "ms", "time / ours", "(10–90 %)", "extra MiB", "/ ours"]]
    absent = []
    for name, one in contenders.items():
        seconds, extra = one.get("seconds"), one.get("extra_bytes")
        if one["status"] != "measured":
            absent.append(f"  {name}: {one['status']}: {one.get('reason', '')}")
        row = [name, one["computes"] or "–", *["–"] * 5]
        if seconds:
            row[2] = f"{1000 * quantile(seconds, 0.5):.1f}"
        if seconds and base and len(seconds) == len(base):
            found = ratios(seconds, base)
            row[3] = f"{found.median:.2f}"
            row[4] = f"{found.low:.2f}–{found.high:.2f}"
        least = one.get("extra_bytes_at_least")
        if extra is not None:
            row[5] = _mib(extra)
            row[6] = f"{extra / own_bytes:.2f}" if own_bytes else "–"
        elif least is not None:
            row[5] = f"> {_mib(least)}"
        if seconds or extra is not None or least is not None:
            rows.append(row)
    return "\n".join([*lines, *_aligned(rows, 2), *absent])


def growth_table(results: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str:
    """Milliseconds and MiB as tokens or words grow."""
    lines: list[str] = []
    for job in dict.fromkeys(result["job"] for result in results):
        rows = [["tokens", "words", *[f"{n}: ms" for n in names], *[f"{n}: MiB" for n in names]]]
        for result in results:
            if result["job"] != job:
                continue
            times, extras = [], []
            for name in names:
                one = result["contenders"].get(name, {})
                seconds, extra = one.get("seconds"), one.get("extra_bytes")
                times.append(f"{1000 * quantile(seconds, 0.5):.1f}" if seconds else "–")
                extras.append("–" if extra is None else _mib(extra))
            rows.append([str(result["tokens"]), str(result["vocabulary"]), *times, *extras])
        lines += [f"How cost grows: {job}", *_aligned(rows, 0), ""]
    return "\n".join(lines).rstrip()


def step_table(steps: Mapping[str, Any]) -> str:
    """Milliseconds of a training step under each criterion."""
    lines = ["A step of the demo's training: forward of both models, loss, backward, optimizer"]
    if "reason" in steps:
        return "\n".join([*lines, f"  not measured: {steps['reason']}"])
    base = steps["seconds_per_step"].get("cross_entropy")
    rows = [["", "ms", "(10–90 %)", "/ cross_entropy", "(10–90 %)"]]
    for name, values in steps["seconds_per_step"].items():
        if not values:
            continue
        low, high = (1000 * quantile(values, share) for share in (0.1, 0.9))
        row = [name, f"{1000 * quantile(values, 0.5):.1f}", f"{low:.1f}–{high:.1f}", "–", "–"]
        if base and len(base) == len(values):
            found = ratios(values, base)
            row[3:] = [f"{found.median:.2f}", f"{found.low:.2f}–{found.high:.2f}"]
        rows.append(row)
    return "\n".join([*lines, *_aligned(rows, 1)])


def target_table(verdicts: Sequence[Verdict]) -> str:
    """Every target with its figure."""
    lines: list[str] = []
    for title in dict.fromkeys(verdict.point for verdict in verdicts):
        lines.append(f"Targets: {title}")
        rows = []
        for verdict in verdicts:
            if verdict.point != title:
                continue
            figure = "" if verdict.measured is None else f"{verdict.measured:.3g}"
            around = "" if verdict.low is None else f"({verdict.low:.3g}–{verdict.high:.3g})"
            rows.append([verdict.target, figure, around, verdict.verdict])
        lines += [*_aligned(rows, 1, last_left=True), ""]
    return "\n".join(lines).rstrip()


def _mib(size: float) -> str:
    return f"{size / _MIB:.1f}"


def _aligned(rows: Sequence[Sequence[str]], left: int, last_left: bool = False) -> list[str]:
    """Columns of equal width: the first ``left`` of them begin alike, the others end alike."""
    if not rows:
        return []
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width)
            if place < left or (last_left and place == len(row) - 1)
            else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(("  " + "  ".join(cells)).rstrip())
    return lines
