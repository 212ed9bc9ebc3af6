"""Who takes part at a point."""

from __future__ import annotations

from collections.abc import Collection

from bench.contender import Contender
from bench.own import own_contenders
from bench.peers import peer_contenders
from bench.settings import Point

# What is looked at as sizes grow.
GROWING = ("dense", "plain", "ours_fixed")


def all_contenders(peers: bool = True) -> list[Contender]:
    """Everyone, in the order of the tables."""
    own = own_contenders()
    order = ("dense", "plain", "peer", "ours", "bound")
    return sorted(
        own + (peer_contenders() if peers else []), key=lambda one: order.index(one.group)
    )


def contenders_at(point: Point, names: Collection[str] | None, peers: bool) -> list[Contender]:
    """Those that do the point's job on its device, and are named if there are ``names``.

    The beginning of a name stands for all names that begin so.
    """
    device = point.device.split(":")[0]
    return [
        one
        for one in all_contenders(peers)
        if one.job == point.job
        and device in one.devices
        and (names is None or one.name.startswith(tuple(names)))
    ]


def check_names(names: Collection[str]) -> None:
    """Refuse a name that nobody has."""
    known = sorted({one.name for one in all_contenders()})
    for name in names:
        if not any(one.startswith(name) for one in known):
            raise SystemExit(f"bench: --only: there is no '{name}'; there are: {', '.join(known)}")
