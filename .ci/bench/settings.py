"""What a run measures."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import asdict, dataclass
from typing import Any

JOBS = ("logits", "linear")
"""Logits given; or hidden states and the output projection."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """One size at which contenders are compared."""

    job: str
    """One of :data:`JOBS`."""

    tokens: int
    """n, target tokens."""

    vocabulary: int
    """V."""

    hidden: int
    """D of both models; the logits job does not look at it."""

    dtype: str = "float32"
    """Of logits, hidden states and weights."""

    device: str = "cpu"
    """Where they are."""

    seed: int = 1
    """Decides the tensors, and the order of the rounds."""

    @property
    def title(self) -> str:
        """The point, for people."""
        shape = f"{self.job}, {self.tokens} tokens × {self.vocabulary} words"
        return shape if self.job == "logits" else f"{shape}, hidden size {self.hidden}"

    def as_json(self) -> dict[str, Any]:
        """The same for a file or another process."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What was asked for on the command line."""

    grid: tuple[Point, ...]
    """Where all contenders are compared."""

    growth: tuple[Point, ...]
    """Where a few of them are, to see how cost grows."""

    only: tuple[str, ...] | None
    """The contenders; None is all of them."""

    repeats: int
    """Rounds at a point of the grid; elsewhere at most two."""

    rounds: int
    """How often each training of the second table is run."""

    steps: int
    """How long each of them is."""

    peers: bool
    """Whether others' packages are looked for at all."""


GRID = ((1024,), (32_000,))
FULL_GRID = ((1024, 4096), (32_000, 128_000, 256_000))
# Tokens at one vocabulary, then vocabularies at one number of tokens.
GROWTH = (((512, 1024, 2048), 16_000), (1024, (8_000, 16_000, 32_000)))
FULL_GROWTH = (
    ((1024, 2048, 4096, 8192), 32_000),
    (1024, (32_000, 64_000, 128_000, 256_000)),
)


def make_parser() -> ArgumentParser:
    """The options."""
    parser = ArgumentParser(
        prog="make bench",
        description="Compare losses in time and memory; results land in runs/bench.",
    )
    add = parser.add_argument
    add("--full", action="store_true", help="the whole grid, 256,000 words included")
    add("--tokens", type=int, nargs="+", metavar="N", help="numbers of target tokens")
    add("--vocabulary", type=int, nargs="+", metavar="V", help="vocabulary sizes")
    add("--hidden", type=int, default=256, metavar="D", help="size of the hidden states (256)")
    add("--jobs", nargs="+", choices=JOBS, default=list(JOBS), help="logits given, or projected")
    add("--repeats", type=int, default=5, metavar="R", help="rounds at each point (5)")
    add("--only", nargs="+", metavar="NAME", help="those whose names begin so")
    add("--no-peers", action="store_true", help="install and measure nobody else's package")
    add("--no-growth", action="store_true", help="leave out how cost grows")
    add("--steps", type=int, default=30, metavar="S", help="steps of a demo training (30)")
    add("--rounds", type=int, default=3, metavar="R", help="runs of each; 0 leaves them out (3)")
    add("--device", default="cpu", help="cpu, or cuda")
    add("--dtype", help="float32 or bfloat16 (float32; bfloat16 on cuda)")
    add("--threads", type=int, metavar="T", help="threads of torch (its default)")
    add("--seed", type=int, default=1, help="of the tensors and of the order (1)")
    return parser


def read_settings(chosen: Namespace) -> Settings:
    """What the options mean."""
    tokens, vocabularies = FULL_GRID if chosen.full else GRID
    on_gpu = chosen.device.startswith("cuda")
    if on_gpu and chosen.full:
        tokens = (*tokens, 8192)
    common: dict[str, Any] = {
        "hidden": chosen.hidden,
        "dtype": chosen.dtype or ("bfloat16" if on_gpu else "float32"),
        "device": chosen.device,
        "seed": chosen.seed,
    }

    def points(pairs: list[tuple[int, int]]) -> tuple[Point, ...]:
        return tuple(
            Point(job=job, tokens=n, vocabulary=size, **common)
            for job in chosen.jobs
            for n, size in dict.fromkeys(pairs)
        )

    grid = [(n, v) for v in chosen.vocabulary or vocabularies for n in chosen.tokens or tokens]
    (by_tokens, one_size), (one_count, by_size) = FULL_GROWTH if chosen.full else GROWTH
    growth = [(n, one_size) for n in by_tokens] + [(one_count, v) for v in by_size]
    return Settings(
        grid=points(grid),
        growth=() if chosen.no_growth else points(growth),
        only=None if chosen.only is None else tuple(chosen.only),
        repeats=chosen.repeats,
        rounds=chosen.rounds,
        steps=chosen.steps,
        peers=not chosen.no_peers,
    )
