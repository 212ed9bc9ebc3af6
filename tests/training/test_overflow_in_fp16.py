"""A step that overflows in fp16 is counted, and the log says whose sentences were not learnt."""

import functools
import re

import pytest
from fairseq2.optim import fp16_loss_scaler
from interruptions import steps

SETTINGS = (
    "criterion.name=self_evolution_kd",
    "trainer.mixed_precision={mode: auto, dtype: float16}",
    "regime.num_steps=4",
    "regime.publish_metrics_every_n_steps=1",
    "regime.validate_every_n_steps=null",
    "dataset.valid=[]",
)


@pytest.fixture
def scaling(monkeypatch):
    """The real scaler; fairseq2 makes it for a GPU, and on a CPU it would do nothing."""
    scaler = functools.partial(fp16_loss_scaler._InternalGradScaler, device="cpu")
    monkeypatch.setattr(fp16_loss_scaler, "_InternalGradScaler", scaler)


def test_a_step_that_overflows_is_counted_and_its_sentences_named(taught, scaling):
    settings = (taught.teacher("teacher", 8), *SETTINGS)
    settings += ("trainer.fp16_loss_scale=[1.0e+9, 1.0e-4]",)

    said = taught.train("run", *settings)

    given_up = re.findall(r"Overflow detected at step (\d+), ignoring", said)
    named = re.findall(
        r"WARNING: fairseq2 - step (\d+): the gradients overflowed in fp16; .* instead of "
        r"\S+/train\.jsonl, line ([\d, ]+)$",
        said,
        re.M,
    )
    assert len(given_up) > 1
    assert [step for step, _ in named] == given_up
    lines = [line for _, each in named for line in each.split(", ")]
    assert len(set(lines)) == len(lines) > len(named), "a step of one epoch has its own sentences"
    assert steps(taught, "run") == [1, 2, 3, 4]
    assert taught.metrics("run")[-1]["Total Number of Overflows"] == len(given_up)


def test_an_overflow_at_the_least_scale_stops_and_names_the_sentences(taught, scaling):
    settings = (taught.teacher("teacher", 8), *SETTINGS)
    settings += ("trainer.fp16_loss_scale=[1.0e+9, 4.0e+8]",)

    last = taught.train("run", *settings, expect=3).splitlines()[-1]

    assert last.startswith(
        "sekd train: step 1: the gradients overflow in fp16 even at the least scale that "
        "trainer.fp16_loss_scale allows, on "
    )
    assert re.search(r"/train\.jsonl, line [\d, ]+$", last)
