"""One process, micro-batches, data-parallel processes, sharded ones: the same training."""

import json
import os

import numpy as np
import pytest
import torch
from forked_training import fork_training
from same_training import expect_the_same

from sekd_plugin.corpus import PromptTemplate
from sekd_plugin.toolkits.fairseq2.batching import plan_epoch
from sekd_plugin.toolkits.fairseq2.dataset import encode_corpus
from sekd_plugin.toolkits.fairseq2.prompts import PromptedPairs
from sekd_plugin.toolkits.fairseq2.sections import CorpusFileSection
from sekd_plugin.toolkits.fairseq2.tokenizer_file import load_tokenizer

WHOLE = "dataset.batch_tokens=100000"
"""Makes a step of all of the corpus, in as many batches as ranks and accumulation need."""
LENGTH = (
    "criterion.name=self_evolution_kd",
    "regime.num_steps=6",
    "regime.publish_metrics_every_n_steps=2",
    "regime.validate_every_n_steps=6",
    "regime.checkpoint_every_n_steps=6",
    "dataset.batch_tokens=400",
)
CUTS = {
    "four_micro_batches": (1, "trainer.grad_accumulation.num_batches=4"),
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
        1,
        "trainer.grad_accumulation.num_batches=4",
        "criterion.kernel=reference",
    ),
}


ELSEWHERE = ("four_micro_batches", "two_sharded_processes")
"""What all are compared with, and what is left to torchrun."""


def train_in_processes(workshop, run, *settings, processes):
    ranks = fork_training(
        workshop, run, workshop.teacher("teacher", 8), *LENGTH, *settings, ranks=processes
    )
    ranks.output()


@pytest.fixture(scope="module")
def reference_run(tmp_path_factory):
    """Where :func:`reference` keeps the run that the others are compared with."""
    return tmp_path_factory.mktemp("reference") / "reference"


@pytest.fixture
def reference(taught, reference_run):
    if not reference_run.is_dir():
        settings = (*LENGTH, CUTS["four_micro_batches"][1])
        taught.train("reference", taught.teacher("teacher", 8), *settings)
        os.rename(taught.folder / "reference", reference_run)
    os.symlink(reference_run, taught.folder / "reference")
    assert taught.metrics("reference")[-1]["Data Epoch"] == 2  # an epoch's last batches included
    return taught


@pytest.mark.parametrize("cut", [name for name in CUTS if name not in ELSEWHERE])
def test_losses_gamma_and_weights_do_not_depend_on_how_the_step_is_cut(reference, cut):
    processes, *settings = CUTS[cut]
    train_in_processes(reference, cut, *settings, processes=processes)
    expect_the_same(reference, cut, "reference", 6)


def test_torchrun_gives_the_same(reference):
    """The other tests fork ranks that have torch already, which takes a quarter of the time."""
    processes, *settings = CUTS["two_sharded_processes"]
    teacher = reference.teacher("teacher", 8)
    program = reference.start("torchrun", teacher, *LENGTH, *settings, processes=processes)
    output, _ = program.communicate(timeout=120)
    assert program.returncode == 0, output
    expect_the_same(reference, "torchrun", "reference", 6)


def test_the_batches_of_a_step_are_uneven(shared_folder):
    vocabulary = shared_folder / "vocabulary.model"
    tokenizer = load_tokenizer("llama", vocabulary, torch.device("cpu"))
    corpus = encode_corpus(
        [CorpusFileSection(path=shared_folder / "train.jsonl")],
        key="dataset.train",
        encodings=[PromptedPairs(tokenizer, PromptTemplate("to German: {source}\n"))],
    )
    plan = plan_epoch(
        corpus.lengths(),
        batch_tokens=400,
        batches_per_step=4,
        generator=np.random.default_rng(1),
    )
    for step in plan:
        targets = [sum(len(corpus.targets[example]) for example in batch) for batch in step]
        assert max(targets) > 1.3 * min(targets) > 0


def test_one_batch_and_four_micro_batches_of_it_are_the_same(taught):
    teacher = taught.teacher("teacher", 8)
    taught.train("one", teacher, *LENGTH, WHOLE)
    taught.train("four", teacher, *LENGTH, WHOLE, "trainer.grad_accumulation.num_batches=4")
    expect_the_same(taught, "four", "one", 6)


@pytest.mark.parametrize("k", [1, 40])  # with one, a rank is without a hard token at every step
def test_the_hardest_of_two_ranks_batches_are_those_of_one_process(taught, k):
    top_k = {"name": "top_k", "config": {"k": k, "scope": "global"}}
    settings = (WHOLE, f"criterion.config.threshold={json.dumps(top_k)}")
    taught.train("one", taught.teacher("teacher", 8), *LENGTH, *settings)
    train_in_processes(taught, "two", *settings, processes=2)
    expect_the_same(taught, "two", "one", 6)
    for line in taught.metrics("two"):
        hard = line["Hard Ratio"] * line["Number of Target Elements"]
        assert hard == pytest.approx(2 * k)  # of the two steps that a line reports
