"""What a criterion remembers: on which device, of which threshold, and no more than is read."""

import copy
import io
import pickle

import pytest
import torch

from sekd_plugin import SelfEvolutionKD, Threshold, WordKD
from sekd_plugin.errors import ConfigError


def see(criterion, rows=4, words=7, device="cpu"):
    torch.manual_seed(rows)
    logits = torch.randn(2, rows, words, device=device)
    return criterion(logits[0], logits[1], torch.zeros(rows, dtype=torch.int64, device=device))


@pytest.mark.parametrize("criterion", [SelfEvolutionKD, WordKD])
def test_a_criterion_can_be_pickled_copied_and_sent_to_another_process(criterion):
    original = criterion()
    see(original)
    original.step()
    for twin in (pickle.loads(pickle.dumps(original)), copy.deepcopy(original)):
        assert see(twin).loss == see(original).loss
        assert twin.threshold.gamma == original.threshold.gamma


def test_a_step_that_a_checkpoint_cut_in_two_is_closed_as_if_it_had_not_been():
    criterion, resumed = SelfEvolutionKD(), SelfEvolutionKD()
    see(criterion)
    file = io.BytesIO()
    torch.save(criterion.state_dict(), file)
    file.seek(0)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    for each in (criterion, resumed):
        see(each, rows=6)
        each.step()
    assert resumed.threshold.gamma == criterion.threshold.gamma


def test_a_step_is_closed_on_the_device_of_its_last_micro_batch():
    """A checkpoint brings difficulties back on the CPU; the next ones are on the model's device."""
    criterion = SelfEvolutionKD()
    criterion._observed = [torch.rand(3), torch.rand(4, device="meta")]
    assert criterion._observations().device.type == "meta"
    assert criterion.get_extra_state()["observed"].device.type == "meta"


@pytest.mark.parametrize("threshold", [
    {"name": "fixed", "config": {"gamma": 1.0}},
    {"name": "top_k", "config": {"k": 2}},
    {"name": "schedule", "config": {"start": 1.0, "end": 2.0, "num_steps": 3}},
])  # fmt: skip
def test_difficulties_that_no_threshold_reads_are_not_kept(threshold):
    criterion = SelfEvolutionKD(threshold=threshold)
    for _ in range(3):
        see(criterion)
    assert criterion.get_extra_state()["observed"].numel() == 0


def test_the_state_of_another_threshold_is_refused_naming_both():
    state = SelfEvolutionKD(threshold="dynamic").state_dict()
    criterion = SelfEvolutionKD(threshold={"name": "fixed", "config": {"gamma": 1.0}})
    with pytest.raises(ConfigError, match=r"DynamicThreshold; here is a FixedThreshold"):
        criterion.load_state_dict(state)


@pytest.mark.parametrize("gamma", [1, 1.0])
def test_gamma_is_a_float_also_where_a_whole_number_was_given(gamma):
    criterion = SelfEvolutionKD(threshold={"name": "fixed", "config": {"gamma": gamma}})
    assert type(criterion.threshold.gamma) is float
    assert type(see(criterion).gamma) is float


class Scalar(Threshold):
    """A decision for all tokens at once, which is none."""

    def decide(self, difficulty):
        return difficulty.mean() > 0.0


class Numbers(Threshold):
    """A decision in numbers."""

    def decide(self, difficulty):
        return (difficulty > 0.5).float()


@pytest.mark.parametrize("kernel", ["reference", "chunked"])
@pytest.mark.parametrize("threshold", [Scalar, Numbers])
def test_a_decision_that_is_not_a_bool_a_token_is_refused_naming_the_class(threshold, kernel):
    criterion = SelfEvolutionKD(threshold=threshold())
    criterion.kernel = kernel
    with pytest.raises(ValueError, match=rf"{threshold.__name__}.decide returned .* must be bool"):
        see(criterion)
