"""What was set out to be reached, and what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench.statistics import Spread, ratios

OURS, WORD_KD, TOP_K = "ours_fixed", "ours_word_kd", "ours_top_k"
LARGE = (4096, 128_000)
"""Tokens and words at which the share of the dense reference's memory is to be judged."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One target at one point."""

    point: str
    """Where."""

    target: str
    """What is asked."""

    measured: float | None
    """The figure; None where there is none."""

    low: float | None = None
    """The 10th percentile over rounds."""

    high: float | None = None
    """The 90th."""

    verdict: str
    """``met``, ``missed``, or why neither."""

    def as_json(self) -> dict[str, Any]:
        """For the results file."""
        return asdict(self)


Contenders = Mapping[str, Mapping[str, Any]]
Figure = Spread | float | str
"""Over rounds; once; or why there is none."""
Target = tuple[str, Figure, str, float]
"""What is asked, the figure, on which side of a bound it must be, and the bound."""

_UP, _DOWN = "at most", "at least"
_MISSING = "not measured"


def judge(title: str, result: Mapping[str, Any]) -> list[Verdict]:
    """Every target of a point."""
    on_gpu, logits = result["device"] != "cpu", result["job"] == "logits"
    contenders: Contenders = result["contenders"]
    if logits:
        found = _logits_on_gpu(contenders) if on_gpu else _logits(result)
    else:
        found = _linear_on_gpu(contenders) if on_gpu else _linear(result)
    if not on_gpu:
        for target, name, most in (
            ("time of ours / our word_kd ≤ 1.10", OURS, 1.10),
            ("time of top_k / our word_kd ≤ 1.35", TOP_K, 1.35),
        ):
            found.append((target, time_ratio(contenders, [name], WORD_KD), _UP, most))
    return [_verdict(title, *one) for one in found]


def _logits(result: Mapping[str, Any]) -> list[Target]:
    contenders = result["contenders"]
    found: list[Target] = []
    for target, name, least in (
        ("time of dense / ours ≥ 3.5", "dense", 3.5),
        ("time of plain KL + CE / ours ≥ 1.5", "plain", 1.5),
        ("the same, plain with one log-softmax ≥ 1.5", "plain_shared", 1.5),
    ):
        found.append((target, time_ratio(contenders, [name], OURS), _DOWN, least))
    for name in (OURS, TOP_K):
        own = contenders.get(name, {}).get("extra_bytes")
        share = _MISSING if own is None else own / result["gradient_bytes"]
        found.append((f"extra memory of {name} / one gradient ≤ 1.1", share, _UP, 1.1))
    return found


def _linear(result: Mapping[str, Any]) -> list[Target]:
    contenders = result["contenders"]
    found: list[Target] = []
    for kind in ("Liger", "TRL"):
        ratio = time_ratio(contenders, _named(contenders, kind.lower()), OURS)
        found.append((f"time of the fastest {kind} / ours ≥ 1.5", ratio, _DOWN, 1.5))
    target = "extra memory of ours / the smallest of Liger and TRL ≤ 0.5"
    found.append((target, _share_of_peers(contenders), _UP, 0.5))
    own, dense = contenders.get(OURS, {}).get("extra_bytes"), contenders.get("dense", {})
    exact, least = dense.get("extra_bytes"), dense.get("extra_bytes_at_least")
    target = "extra memory of ours / dense ≤ 0.05"
    if exact is None and least is not None:
        # Dense needs more than there was: the true share is smaller still.
        target += " (dense ran out of memory: at most)"
    share = own / (exact or least) if own is not None and (exact or least) else _MISSING
    if (result["tokens"], result["vocabulary"]) != LARGE and isinstance(share, float):
        share = f"{share:.3g}; asked at {LARGE[0]} × {LARGE[1]}"
    found.append((target, share, _UP, 0.05))
    return found


def _logits_on_gpu(contenders: Contenders) -> list[Target]:
    bound = time_ratio(contenders, ["bound_read_write"], OURS)
    return [("time of reading and writing once / ours ≥ 0.8", bound, _DOWN, 0.8)]


def _linear_on_gpu(contenders: Contenders) -> list[Target]:
    peers = _named(contenders, "liger") + _named(contenders, "trl")
    products = time_ratio(contenders, [OURS], "bound_products")
    return [
        ("time of ours / the bare products ≤ 1.25", products, _UP, 1.25),
        ("time of the fastest peer / ours ≥ 1", time_ratio(contenders, peers, OURS), _DOWN, 1.0),
        ("extra memory of ours / the smallest peer ≤ 1", _share_of_peers(contenders), _UP, 1.0),
    ]


def _verdict(title: str, target: str, figure: Figure, side: str, bound: float) -> Verdict:
    if isinstance(figure, str):
        return Verdict(point=title, target=target, measured=None, verdict=figure)
    value = figure if isinstance(figure, float) else figure.median
    met = value <= bound if side == _UP else value >= bound
    around = {} if isinstance(figure, float) else {"low": figure.low, "high": figure.high}
    verdict = "met" if met else "missed"
    return Verdict(point=title, target=target, measured=value, verdict=verdict, **around)


def _named(contenders: Contenders, start: str) -> list[str]:
    return [name for name in contenders if name.startswith(f"{start}_")]


def _share_of_peers(contenders: Contenders) -> Figure:
    own = contenders.get(OURS, {}).get("extra_bytes")
    peers = _named(contenders, "liger") + _named(contenders, "trl")
    known = [contenders[name].get("extra_bytes") for name in peers]
    sizes = [size for size in known if size is not None]
    return own / min(sizes) if own is not None and sizes else _MISSING


def time_ratio(contenders: Contenders, over: Sequence[str], under: str) -> Spread | str:
    """The fastest of ``over`` against ``under``, round by round, or why there is no figure."""
    base = contenders.get(under, {}).get("seconds")
    found = [
        ratios(contenders[name]["seconds"], base)
        for name in over
        if base and len(contenders.get(name, {}).get("seconds", ())) == len(base)
    ]
    if found:
        return min(found, key=lambda one: one.median)
    reasons = {contenders[name].get("reason") for name in over if name in contenders} - {None}
    return f"{_MISSING}: {'; '.join(sorted(map(str, reasons)))}" if reasons else _MISSING
