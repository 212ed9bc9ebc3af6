"""A step means the same however it is cut, over micro-batches, ranks and restarts."""

import itertools
import json
import math

import pytest
import shares_on_ranks
import torch
from method_definition import DIVERGENCES
from ranks_in_processes import run_ranks

from sekd_plugin import Schedule, SelfEvolutionKD
from sekd_plugin.kernels.fused import ChunkBytes

QUANTILE = {"name": "dynamic", "config": {"statistic": "quantile", "quantile": 0.6}}
MEAN = {"name": "dynamic", "config": {"momentum": 0.7}}
CUTS = [[24], [12, 12], [6, 6, 6, 6], [1, 20, 3], [23, 1], [1] * 24]


def rows_of(step, rows=24, words=13):
    torch.manual_seed(step)
    student, teacher = torch.randn(rows, words) * 2, torch.randn(rows, words) * 2
    return student, teacher, torch.randint(0, words, (rows,))


def parts_of(sizes):
    ends = list(itertools.accumulate(sizes))
    return [slice(end - size, end) for size, end in zip(sizes, ends, strict=True)]


def history(criterion, cut, order, words, steps=4):
    """Each step's Γ, hard tokens and summed loss, the tokens in their first order."""
    seen = []
    for step in range(steps):
        student, teacher, targets = rows_of(step, words=words)
        hard, loss = torch.zeros(24, dtype=torch.bool), 0.0
        for part in order(parts_of(cut)):
            output = criterion(student[part], teacher[part], targets[part])
            hard[part] = output.hard
            loss += float(output.loss.double())
        criterion.step()
        seen.append((criterion.threshold.gamma, hard.tolist(), loss))
    return seen


@pytest.mark.parametrize("divergence", sorted(DIVERGENCES))
@pytest.mark.parametrize("threshold", [MEAN, QUANTILE])
@pytest.mark.parametrize("kernel", ["reference", "chunked"])
@pytest.mark.parametrize("words", [7, 250])
def test_a_dynamic_gamma_is_the_same_to_the_last_bit_and_the_loss_to_rounding_however_cut(
    divergence, threshold, kernel, words
):
    def run(cut, order):
        criterion = SelfEvolutionKD(divergence=DIVERGENCES[divergence][0], threshold=threshold)
        criterion.kernel = kernel
        criterion.chunk_bytes = ChunkBytes(cache_bytes=4 * words * 5)
        return history(criterion, cut, order, words)

    whole = run([24], list)
    assert any(any(hard) and not all(hard) for _, hard, _ in whole)
    for cut in CUTS:
        for order in (list, lambda parts: parts[::-1], lambda parts: parts[1:] + parts[:1]):
            found = run(cut, order)
            assert [gamma for gamma, _, _ in found] == [gamma for gamma, _, _ in whole]
            assert [hard for _, hard, _ in found] == [hard for _, hard, _ in whole]
            for (_, _, loss), (_, _, expected) in zip(found, whole, strict=True):
                assert loss == pytest.approx(expected, rel=1e-6)


def test_every_token_of_a_step_counts_once_and_not_every_micro_batch():
    criterion = SelfEvolutionKD(threshold=MEAN)
    student, teacher, targets = rows_of(0)
    difficulties = [
        criterion(student[part], teacher[part], targets[part]).difficulty
        for part in parts_of([1, 20, 3])
    ]
    criterion.step()
    assert criterion.threshold.gamma == pytest.approx(float(torch.cat(difficulties).mean()))
    of_means = float(torch.stack([part.mean() for part in difficulties]).mean())
    assert criterion.threshold.gamma != pytest.approx(of_means, rel=1e-3)


def test_gamma_does_not_move_before_the_step_is_closed_and_starts_anew_after_it():
    criterion = SelfEvolutionKD(threshold={"name": "dynamic", "config": {"momentum": 0.0}})
    first = criterion(*rows_of(0)).difficulty
    assert criterion.threshold.gamma == math.inf
    criterion(*rows_of(1))
    criterion.step()
    gamma = criterion.threshold.gamma
    assert gamma != pytest.approx(float(first.mean()))
    third = criterion(*rows_of(2))
    assert third.gamma == gamma == criterion.threshold.gamma
    criterion.step()
    assert criterion.threshold.gamma == pytest.approx(float(third.difficulty.mean()))


def test_the_difficulty_of_a_step_is_its_own_divergence_where_one_is_named():
    criterion = SelfEvolutionKD(
        divergence="reverse_kl", difficulty="jensen_shannon", threshold="dynamic"
    )
    output = criterion(*rows_of(0))
    criterion.step()
    alone = SelfEvolutionKD(divergence="jensen_shannon", threshold="dynamic")
    assert torch.equal(output.difficulty, alone(*rows_of(0)).difficulty)
    assert criterion.threshold.gamma == pytest.approx(float(output.difficulty.mean()))


THRESHOLDS = {
    "fixed": {"name": "fixed", "config": {"gamma": 1.5}},
    "mean": MEAN,
    "quantile": QUANTILE,
    "top_k": {"name": "top_k", "config": {"k": 3}},
    "top_k of all ranks": {"name": "top_k", "config": {"k": 3, "scope": "global"}},
    "top_k of each sentence": {"name": "top_k", "config": {"ratio": 0.4, "per": "sentence"}},
    "schedule": {
        "name": "schedule",
        "config": {"start": 3.0, "end": 0.5, "num_steps": 5, "shape": "cosine"},
    },
    "schedule of the ratio": {
        "name": "schedule",
        "config": {"start": 0.1, "end": 0.8, "num_steps": 5, "quantity": "ratio"},
    },
    "target_ratio": {
        "name": "target_ratio",
        "config": {"ratio": {"start": 0.2, "end": 0.5, "num_steps": 5}},
    },
}


@pytest.mark.parametrize("threshold", sorted(THRESHOLDS))
@pytest.mark.parametrize("stop", [6, 7])
def test_a_restart_between_steps_or_within_one_continues_to_the_last_bit(threshold, stop, tmp_path):
    def make():
        beta = Schedule(0.9, 0.1, 5, "cosine")
        return SelfEvolutionKD(threshold=THRESHOLDS[threshold], beta=beta)

    def play(criterion, first, last):
        seen = []
        for number in range(first, last):
            student, teacher, targets = rows_of(number)
            leaf = student.reshape(4, 6, -1).clone().requires_grad_(True)
            output = criterion(leaf, teacher.reshape(4, 6, -1), targets.reshape(4, 6))
            output.loss.backward()
            seen.append(
                (output.gamma, output.loss.item(), output.hard.tolist(), float(leaf.grad.sum()))
            )
            if number % 2 == 1:
                criterion.step()
        return seen

    whole = play(make(), 0, 14)
    first = make()
    start = play(first, 0, stop)
    torch.save(first.state_dict(), tmp_path / "state.pt")
    second = make()
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert second.num_steps == 3
    assert start + play(second, stop, 14) == whole
    assert any(any(hard) for _, _, hard, _ in whole[6:])


def test_a_discarded_step_moves_neither_gamma_nor_beta_nor_the_count():
    criterion = SelfEvolutionKD(threshold=MEAN, beta=Schedule(1.0, 0.0, 4))
    criterion(*rows_of(0))
    criterion.step()
    before = (criterion.threshold.gamma, criterion.beta, criterion.num_steps)
    for seed in (1, 2):
        criterion(*rows_of(seed))
        criterion.discard_step()
    assert (criterion.threshold.gamma, criterion.beta, criterion.num_steps) == before
    criterion.step()
    assert criterion.threshold.gamma == before[0]


@pytest.mark.parametrize("threshold", sorted(THRESHOLDS))
def test_validation_leaves_the_state_as_it_was(threshold):
    criterion = SelfEvolutionKD(threshold=THRESHOLDS[threshold])
    criterion(*rows_of(0))
    criterion.step()
    criterion(*rows_of(1))
    before = criterion.state_dict()["_extra_state"]
    criterion.eval()
    criterion(*rows_of(2))
    criterion.forward_linear(
        torch.randn(24, 3), torch.randn(13, 3), targets=rows_of(2)[2], teacher_logits=rows_of(2)[1]
    )
    after = criterion.state_dict()["_extra_state"]
    assert torch.equal(before.pop("observed"), after.pop("observed"))
    assert before == after


def test_two_ranks_have_the_gammas_of_one_whoever_has_targets(tmp_path):
    for ranks in (1, 2):
        (tmp_path / str(ranks)).mkdir()
        run_ranks(shares_on_ranks, tmp_path / str(ranks), ranks)
    results = [tmp_path / name for name in ("2/0.json", "2/1.json", "1/0.json")]
    first, second, alone = (json.loads(result.read_text()) for result in results)
    assert first[:-1] == second[:-1] == alone
    assert len({str(gamma) for gamma in alone}) == len(alone) - 1  # nobody's step moves nothing
    assert first[-1] != second[-1]
