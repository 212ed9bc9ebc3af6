"""A run that is killed and started again ends as if nothing had happened, to the last bit."""

import signal
import time
from pathlib import Path

import pytest
import torch
import yaml
from fairseq2.gang import create_fake_gangs
from forked_training import fork_training

from sekd_plugin.errors import SekdError
from sekd_plugin.toolkits.fairseq2.dataset import EncodedCorpus
from sekd_plugin.toolkits.fairseq2.reader import CorpusReader

KD = "criterion.name=self_evolution_kd"
LENGTH = (
    "regime.num_steps=24",
    "regime.checkpoint_every_n_steps=3",
    "regime.publish_metrics_every_n_steps=3",
    "regime.validate_every_n_steps=12",
    "regime.keep_last_n_checkpoints=2",
)


def weights(workshop, run, step):
    return torch.load(workshop.checkpoint(run, step) / "pp_00/tp_00/sdp_00.pt", weights_only=True)


@pytest.mark.parametrize(
    "criterion",
    [
        ("criterion.config.threshold={name: dynamic, config: {momentum: 0.7}}",),
        (
            "criterion.config.threshold.name=schedule",
            "criterion.config.threshold.config={start: 3, end: 1, num_steps: 24}",
            "criterion.config.beta={start: 0.9, end: 0.5, num_steps: 20, shape: cosine}",
        ),
    ],
)
def test_a_killed_run_resumes_to_the_same_bits(taught, criterion):
    settings = (taught.teacher("teacher", 8), KD, *criterion, *LENGTH)
    settings += ("model.config_overrides.dropout_p=0.1",)
    taught.train("whole", *settings)

    process = fork_training(taught, "killed", *settings)
    seen = taught.folder / "killed" / "checkpoints" / "step_9"
    while not seen.is_dir() and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not taught.checkpoint("killed", 24).exists(), "it was over before it could be killed"
    log = taught.train("killed", *settings)

    assert "Resuming from step" in log
    whole, killed = weights(taught, "whole", 24), weights(taught, "killed", 24)
    assert all(torch.equal(whole[name], killed[name]) for name in whole)
    last, resumed = taught.metrics("whole")[-1], taught.metrics("killed")[-1]
    for name in ("Loss", "Gamma", "Beta", "Hard Ratio", "Difficulty p90"):
        assert last[name] == resumed[name]


def test_a_run_whose_training_data_has_changed_is_not_resumed(workshop):
    recipe = yaml.safe_load(workshop.recipe.read_text())
    pairs = workshop.folder / "pairs.jsonl"
    pairs.write_text(Path(recipe["dataset"]["train"][0]["path"]).read_text())
    data = f"dataset.train=[{{path: {pairs}}}]"
    workshop.train("run", data)
    before = {p: p.read_bytes() for p in (workshop.folder / "run/checkpoints").rglob("*.pt")}

    pairs.write_text(pairs.read_text().replace("jetzt", "sofort", 1))
    error = workshop.train("run", data, expect=2)

    last = error.splitlines()[-1]
    assert last.startswith("sekd train: the training data of this run has changed since its last ")
    assert "name another folder" in last
    assert before == {
        p: p.read_bytes() for p in (workshop.folder / "run/checkpoints").rglob("*.pt")
    }


def test_a_place_in_steps_of_another_size_is_refused():
    def reader(num_accumulate):
        device = torch.device("cpu")
        return CorpusReader(
            EncodedCorpus(prompts=[[1]] * 9, targets=[[2]] * 9, weights=[1.0] * 9),
            create_fake_gangs(device),
            batch_tokens=8,
            pad_index=0,
            num_accumulate=num_accumulate,
        )

    with pytest.raises(SekdError, match=r"batches in a step .* it was 2, and is 3 now"):
        reader(3).load_state_dict(reader(2).state_dict())


def test_a_finished_run_started_again_does_nothing_more(workshop):
    workshop.train("run")
    before = weights(workshop, "run", 8)
    metrics = workshop.metrics("run")

    workshop.train("run")

    after = weights(workshop, "run", 8)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert workshop.metrics("run") == metrics


@pytest.mark.parametrize(
    "settings",
    [
        "lr_scheduler.config={cycle_len: 60}",
        "lr_scheduler={name: passthrough, config: null}",
        "optimizer.config={lr: 0.001}",
    ],
)
def test_a_component_with_few_settings_is_the_same_when_it_is_resumed(workshop, settings):
    workshop.train("run", settings)
    workshop.train("run", settings)
