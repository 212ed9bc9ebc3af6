"""A report says what was measured, over all micro-batches, and nothing else."""

import json
import math

import pytest
import torch
from fairseq2.datasets import SequenceBatch
from fairseq2.metrics import MetricBag

from sekd_plugin import CriterionOutput, SelfEvolutionKD, WordKD
from sekd_plugin.thresholds import FixedThreshold
from sekd_plugin.thresholds.top_k import TopKThreshold
from sekd_plugin.toolkits.fairseq2.faults.non_finite_step import NonFiniteStepError
from sekd_plugin.toolkits.fairseq2.metrics.criterion_metrics import (
    add_criterion_metrics,
    finish_metric_values,
    update_criterion_metrics,
)
from sekd_plugin.toolkits.fairseq2.metrics.criterion_state import CriterionState


def reported(criterion, *outputs):
    bag = MetricBag(torch.device("cpu"))
    add_criterion_metrics(bag)
    batch = SequenceBatch(torch.ones(1, 3, dtype=torch.int64), None)
    for output in outputs:
        update_criterion_metrics(bag, batch, criterion, output)
    values = {name: metric.compute() for name, metric in bag.metrics.items()}
    finish_metric_values(values, 7)
    return values


def output(num_targets, gamma, loss=1.0, difficulty=1.0, hard=False):
    return CriterionOutput(
        loss=torch.tensor(loss * num_targets),
        num_targets=num_targets,
        difficulty=torch.full((num_targets,), difficulty),
        hard=torch.full((num_targets,), hard),
        gamma=gamma,
        token_loss=torch.full((num_targets,), loss),
        cross_entropy=torch.full((num_targets,), 2.0),
        agreement=None,
    )


def test_gamma_that_each_batch_implies_is_the_mean_over_target_tokens():
    criterion = SelfEvolutionKD(threshold=TopKThreshold(ratio=0.5))
    values = reported(criterion, output(1, 1.0), output(3, 3.0), output(6, math.inf))
    assert float(values["gamma"]) == 2.5
    assert "implied_gamma" not in values


def test_gamma_known_beforehand_is_the_latest():
    criterion = SelfEvolutionKD(threshold=FixedThreshold(gamma=1.0))
    values = reported(criterion, output(1, 1.0), output(3, 3.0))
    assert float(values["gamma"]) == 3.0


def test_beta_is_reported_only_where_a_token_can_be_hard():
    assert "beta" not in reported(WordKD(), output(2, math.inf))
    never = SelfEvolutionKD(threshold=FixedThreshold(gamma=math.inf))
    assert "beta" not in reported(never, output(2, math.inf))
    fixed = SelfEvolutionKD(beta=0.25, threshold=FixedThreshold(gamma=1.0))
    assert float(reported(fixed, output(2, 1.0))["beta"]) == 0.25


def test_what_was_not_measured_is_left_out_and_what_is_infinite_is_not_written():
    criterion = SelfEvolutionKD(threshold=FixedThreshold(gamma=1.0))
    values = reported(criterion, output(2, math.inf, difficulty=math.inf))
    assert float(values["loss_easy"]) == 1.0
    assert values.keys().isdisjoint({"loss_hard", "agreement", "gamma", "difficulty"})


@pytest.mark.parametrize("loss", [math.inf, math.nan])
def test_a_loss_that_is_not_finite_is_an_error_that_names_the_step(loss):
    criterion = SelfEvolutionKD(threshold=FixedThreshold(gamma=1.0))
    with pytest.raises(NonFiniteStepError, match=f"step 7: the reported loss is {loss}") as error:
        reported(criterion, output(2, 1.0), output(2, 1.0, loss=loss))
    assert error.value.exit_code == 3


def test_the_criterions_state_is_saved_whole_and_not_sent_with_the_metrics():
    criterion = SelfEvolutionKD()
    criterion.train()
    logits = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    criterion(logits, logits.flip(0), torch.zeros(4, dtype=torch.int64))
    metric = CriterionState(criterion)

    metric._prepare_for_merge_state()  # as torcheval does before it sends states to other ranks
    assert sum(state.numel() for state in metric.state_dict().values()) == 1

    saved = metric.state_dict()
    assert saved["observed"].numel() == 4
    assert json.loads(bytes(saved["numbers"].tolist()))["num_steps"] == 0
