"""Whether two trainings were one: the same metrics, and the same weights in the end."""

import pytest
import torch

COMPARED = (
    "Loss", "Cross-Entropy", "Difficulty", "Difficulty p50", "Difficulty p90", "Difficulty p99",
    "Gamma", "Hard Ratio", "Loss of Hard Tokens", "Loss of Easy Tokens", "Teacher Agreement",
    "Number of Target Elements", "Gradient Norm",
)  # fmt: skip


def model_state(workshop, run, step):
    """Each weight's parts, one for each rank that has written a file."""
    parts = sorted(workshop.checkpoint(run, step).rglob("sdp_*.pt"))
    states = [torch.load(part, weights_only=True) for part in parts]
    return {name: [state[name] for state in states] for name in states[0]}


def joined(parts, like):
    """Shards in one piece, of the shape of ``like``; parts that are whole must be equal."""
    if parts[0].shape == like.shape:
        for part in parts[1:]:
            torch.testing.assert_close(part, parts[0])
        return parts[0]
    (dim,) = [d for d in range(like.ndim) if parts[0].shape[d] != like.shape[d]]
    return torch.cat(parts, dim)


def expect_the_same(workshop, run, other, step):
    """The same metrics, each of which was measured, and the same weights in the end."""
    measured = {name for line in workshop.metrics(other) for name in line}
    assert measured >= set(COMPARED)
    for split in ("train", "valid"):
        for ours, theirs in zip(
            workshop.metrics(run, split), workshop.metrics(other, split), strict=True
        ):
            for name in COMPARED:
                if name in theirs:
                    assert ours[name] == pytest.approx(theirs[name], rel=2e-5), name
    ours, theirs = model_state(workshop, run, step), model_state(workshop, other, step)
    for name, (weight,) in theirs.items():
        found = joined(ours[name], weight)
        torch.testing.assert_close(found, weight, rtol=1e-3, atol=2e-5, msg=name)
