"""One process, micro-batches, data-parallel processes, sharded ones: the same training."""

import pytest
import torch

LENGTH = (
    "criterion.name=self_evolution_kd",
    "regime.num_steps=6",
    "regime.publish_metrics_every_n_steps=2",
    "regime.validate_every_n_steps=6",
    "regime.checkpoint_every_n_steps=6",
    "dataset.batch_tokens=100",
)
COMPARED = (
    "Loss", "Cross-Entropy", "Difficulty", "Difficulty p50", "Difficulty p90", "Difficulty p99",
    "Gamma", "Hard Ratio", "Loss of Hard Tokens", "Loss of Easy Tokens", "Teacher Agreement",
    "Number of Target Elements", "Gradient Norm",
)  # fmt: skip
CUTS = {
    "four_micro_batches": (0, "trainer.grad_accumulation.num_batches=4"),
    "two_processes_of_two": (2, "trainer.grad_accumulation.num_batches=2"),
    "four_processes": (4, "trainer.grad_accumulation.num_batches=1"),
    "two_sharded_processes": (
        2,
        "trainer.grad_accumulation.num_batches=2",
        "trainer.data_parallelism=fsdp",
    ),
    "two_tensor_parallel_processes": (
        2,
        "trainer.grad_accumulation.num_batches=4",
        "gang.tensor_parallel_size=2",
    ),
    "the_definition_over_all_logits": (
        0,
        "trainer.grad_accumulation.num_batches=4",
        "criterion.kernel=reference",
    ),
}


def model_state(workshop, run):
    """Each weight's parts, one for each rank that has written a file."""
    parts = sorted(workshop.checkpoint(run, 6).rglob("sdp_*.pt"))
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


@pytest.fixture
def reference(taught):
    taught.train("reference", taught.teacher("teacher", 8), *LENGTH, CUTS["four_micro_batches"][1])
    return taught


@pytest.mark.parametrize("cut", [name for name in CUTS if name != "four_micro_batches"])
def test_losses_gamma_and_weights_do_not_depend_on_how_the_step_is_cut(reference, cut):
    processes, *settings = CUTS[cut]
    process = reference.start(
        cut, reference.teacher("teacher", 8), *LENGTH, *settings, processes=processes
    )
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output

    for split in ("train", "valid"):
        for ours, theirs in zip(
            reference.metrics(cut, split), reference.metrics("reference", split), strict=True
        ):
            for name in COMPARED:
                if name in theirs:
                    assert ours[name] == pytest.approx(theirs[name], rel=2e-5), name
    ours, theirs = model_state(reference, cut), model_state(reference, "reference")
    for name, (weight,) in theirs.items():
        found = joined(ours[name], weight)
        torch.testing.assert_close(found, weight, rtol=1e-3, atol=2e-5, msg=name)


def test_one_batch_and_four_micro_batches_of_it_report_the_same_metrics(taught):
    teacher = taught.teacher("teacher", 8)
    whole = "dataset.batch_tokens=100000"
    taught.train("one", teacher, *LENGTH, whole)
    taught.train("four", teacher, *LENGTH, whole, "trainer.grad_accumulation.num_batches=4")

    for ours, theirs in zip(taught.metrics("four"), taught.metrics("one"), strict=True):
        for name in COMPARED:
            assert ours[name] == pytest.approx(theirs[name], rel=2e-5), name
