"""All that is measured at one point."""

from __future__ import annotations

from typing import Any

import torch

from bench import memory
from bench.contenders import contenders_at
from bench.processes import Progress, ask_worker
from bench.settings import Point


def measure_point(
    point: Point,
    names: tuple[str, ...] | None,
    *,
    rounds: int,
    peers: bool,
    threads: int | None,
    progress: Progress,
    fresh: bool = True,
) -> dict[str, Any]:
    """Times and memory of the contenders at a point, for the results file.

    Args:
        point: where.
        names: who; None is everyone who does the job.
        rounds: how many interleaved ones.
        peers: whether others' packages may be used.
        threads: torch's, or None for its default.
        progress: hears how far it is.
        fresh: whether each memory figure has a process of its own, or all share one.
    """
    chosen = contenders_at(point, names, peers)
    if not fresh:
        chosen = [one for one in chosen if one.name in (names or ())]
    result: dict[str, Any] = {**point.as_json(), **theoretical_bytes(point), "contenders": {}}
    contenders = result["contenders"]
    for one in chosen:
        contenders[one.name] = {"group": one.group, "computes": one.computes, "status": "unknown"}
    asked = {"peers": peers, "threads": threads}

    for answer in ask_worker(
        "time", point, [one.name for one in chosen], rounds=rounds, environment={}, **asked
    ):
        if "progress" in answer:
            progress.tell(f"{point.title}: {answer['progress']}")
        elif "point" in answer:
            result.update(answer["point"])
        elif "ended" in answer:
            result["ended"] = answer["ended"]
            for one in contenders.values():
                if "seconds" not in one and one["status"] in ("unknown", "measured"):
                    one.update(status="failed", reason=answer["ended"])
        else:
            contenders[answer.pop("name")].update(answer)

    if point.device == "cpu" and memory.can_measure():
        # Dense ones may fail here for want of memory and still show a lower bound.
        wanted = [
            one.name
            for one in chosen
            if one.group != "bound"
            and contenders[one.name]["status"] in ("measured", "out of memory")
        ]
        for group in [[name] for name in wanted] if fresh else [wanted] * bool(wanted):
            progress.tell(f"{point.title}: memory of {', '.join(group)}")
            for answer in ask_worker(
                "memory", point, group, environment=memory.ENVIRONMENT, **asked
            ):
                if "ended" in answer:
                    for name in group:
                        contenders[name].setdefault("memory_reason", answer["ended"])
                    continue
                one = contenders[answer.pop("name")]
                if "extra_bytes" in answer:
                    one.update(answer)
                else:
                    one["memory_reason"] = answer["reason"]
                    if "extra_bytes_at_least" in answer:
                        one["extra_bytes_at_least"] = answer["extra_bytes_at_least"]
    return result


def theoretical_bytes(point: Point) -> dict[str, int]:
    """Sizes to compare with: of all logits of one model, and of the gradients asked for."""
    size = torch.empty((), dtype=getattr(torch, point.dtype)).element_size()
    logits = point.tokens * point.vocabulary * size
    gradients = logits
    if point.job == "linear":
        gradients = (point.tokens + point.vocabulary) * point.hidden * size
    return {"logits_bytes": logits, "gradient_bytes": gradients}
