"""Where the batch decides, chunks are decided on by a guess, and only wrong rows are done again."""

import pytest
import torch
from method_cases import define, fixed

from sekd_plugin import SelfEvolutionKD, Threshold
from sekd_plugin.kernels import decision
from sekd_plugin.kernels.forward_kl import ForwardKLRows
from sekd_plugin.kernels.fused import ChunkBytes
from sekd_plugin.kernels.projection import Projection


class AboveTheMean(Threshold):
    """Hard are the tokens above the batch's mean difficulty."""

    def decide(self, difficulty):
        return difficulty > difficulty.mean() if difficulty.numel() else difficulty.bool()


class EveryOther(Threshold):
    """A decision that no Γ could stand for."""

    def decide(self, difficulty):
        return torch.arange(difficulty.numel()) % 2 == 1


THRESHOLDS = [
    {"name": "top_k", "config": {"ratio": 0.3}},
    {"name": "top_k", "config": {"k": 7}},
    {"name": "top_k", "config": {"k": 2, "per": "sentence"}},
    {"name": "top_k", "config": {"ratio": 0.0}},
    {"name": "top_k", "config": {"ratio": 1.0}},
    AboveTheMean(),
    EveryOther(),
]


def batch(sentences=6, length=8, words=12, order="mixed"):
    torch.manual_seed(1)
    shape = (sentences, length)
    student = torch.randn(*shape, words, dtype=torch.float64)
    teacher = torch.randn(*shape, words, dtype=torch.float64)
    scale = torch.linspace(0.1, 4.0, sentences * length, dtype=torch.float64)
    if order == "hardest last":
        student = student * scale.view(*shape, 1)
    elif order == "hardest first":
        student = student * scale.flip(0).view(*shape, 1)
    return student, teacher, torch.randint(0, words, shape)


def run(threshold, kernel, given, linear, chunk):
    student, teacher, targets = given
    leaf = student.clone().requires_grad_()
    criterion = SelfEvolutionKD(threshold=threshold, teacher_weight=0.6, beta=0.7)
    criterion.kernel = kernel
    criterion.chunk_bytes = ChunkBytes(logits_bytes=4 * 12 * chunk * 2, cache_bytes=4 * 12 * chunk)
    if not linear:
        output = criterion(leaf, teacher, targets)
        return output, torch.autograd.grad(output.loss, leaf)
    torch.manual_seed(2)
    weight = torch.randn(12, 12, dtype=torch.float64).requires_grad_()
    bias = torch.randn(12, dtype=torch.float64).requires_grad_()
    output = criterion.forward_linear(
        leaf, weight, targets=targets, teacher_logits=teacher, student_bias=bias
    )
    return output, torch.autograd.grad(output.loss, (leaf, weight, bias))


@pytest.mark.parametrize(
    "threshold",
    THRESHOLDS,
    ids=lambda each: str(each) if isinstance(each, dict) else type(each).__name__,
)
@pytest.mark.parametrize("order", ["mixed", "hardest last", "hardest first"])
@pytest.mark.parametrize("linear", [False, True])
def test_the_result_is_that_of_seeing_the_whole_batch_first(threshold, order, linear):
    given = batch(order=order)
    expected, slopes = run(threshold, "reference", given, linear, 100)
    for chunk in (1, 3, 8, 100):
        output, gradients = run(threshold, "chunked", given, linear, chunk)
        assert torch.equal(output.hard, expected.hard)
        assert output.gamma == pytest.approx(expected.gamma)
        torch.testing.assert_close(output.token_loss, expected.token_loss)
        torch.testing.assert_close(output.difficulty, expected.difficulty)
        assert float(output.loss) == pytest.approx(float(expected.loss))
        for gradient, slope in zip(gradients, slopes, strict=True):
            torch.testing.assert_close(gradient, slope)


@pytest.mark.parametrize("linear", [False, True])
def test_without_gradients_rows_are_done_again_for_their_losses_alone(linear):
    given = batch(order="hardest last")
    expected, _ = run(THRESHOLDS[0], "reference", given, linear, 100)
    student, teacher, targets = given
    criterion = SelfEvolutionKD(threshold=THRESHOLDS[0], teacher_weight=0.6, beta=0.7)
    criterion.chunk_bytes = ChunkBytes(logits_bytes=4 * 12 * 2, cache_bytes=4 * 12 * 2)
    with torch.no_grad():
        if linear:
            torch.manual_seed(2)
            weight = torch.randn(12, 12, dtype=torch.float64)
            bias = torch.randn(12, dtype=torch.float64)
            output = criterion.forward_linear(
                student, weight, targets=targets, teacher_logits=teacher, student_bias=bias
            )
        else:
            output = criterion(student, teacher, targets)
    torch.testing.assert_close(output.token_loss, expected.token_loss)


def test_the_definition_agrees_where_rows_were_taken_for_the_wrong_kind():
    student, teacher, targets = batch(order="hardest last")
    flat = student.reshape(-1, 12), teacher.reshape(-1, 12), targets.reshape(-1)
    output, (gradient,) = run(THRESHOLDS[0], "chunked", (student, teacher, targets), False, 2)
    leaf = flat[0].clone().requires_grad_()
    settings = {
        "teacher_weight": 0.6,
        "beta": 0.7,
        "gamma": output.gamma,
        "temperature": 1.0,
        "divergence": "forward_kl",
        "difficulty": None,
        "proxy": "linear",
    }
    difficulty, hard, losses = define(settings, leaf, flat[1], flat[2])
    # Γ is the greatest easy difficulty to the last bit; the definition's may round the other way.
    assert (hard != output.hard).sum() <= 1
    torch.testing.assert_close(output.difficulty, difficulty)
    same = hard == output.hard
    torch.testing.assert_close(output.token_loss[same], losses.detach()[same])
    (expected,) = torch.autograd.grad(losses.sum(), leaf)
    torch.testing.assert_close(gradient.reshape(-1, 12)[same], expected[same])


def rows_computed(threshold, order, monkeypatch, linear=False):
    """How many rows a kernel is given in all, for a batch of 4096."""
    losses, given = ForwardKLRows.losses, []

    def counted(self, student, *more):
        given.append(student.shape[0])
        return losses(self, student, *more)

    monkeypatch.setattr(ForwardKLRows, "losses", counted)
    run(threshold, "chunked", batch(sentences=128, length=32, order=order), linear, 16)
    return sum(given)


def test_few_rows_are_done_again_where_the_batch_is_of_a_piece(monkeypatch):
    assert 4096 <= rows_computed(THRESHOLDS[0], "mixed", monkeypatch) < 1.06 * 4096


def test_none_is_done_again_where_gamma_is_known(monkeypatch):
    assert rows_computed(fixed(0.7), "mixed", monkeypatch) == 4096


def test_rows_done_again_are_projected_once_more(monkeypatch):
    products, computed = [], []
    logits, losses = Projection.logits, ForwardKLRows.losses

    def counted(self, states, *more):
        products.append(states.shape[0])
        return logits(self, states, *more)

    def seen(self, student, *more):
        computed.append(student.shape[0])
        return losses(self, student, *more)

    monkeypatch.setattr(Projection, "logits", counted)
    monkeypatch.setattr(ForwardKLRows, "losses", seen)
    run(THRESHOLDS[0], "chunked", batch(order="hardest last"), True, 3)
    wrong = sum(products) - 48
    # Of their kernel they need both the right gradient and the one to take back.
    assert wrong > 0 and sum(computed) == 48 + 2 * wrong


def test_at_worst_each_row_is_done_once_more(monkeypatch):
    assert rows_computed(THRESHOLDS[0], "hardest last", monkeypatch) <= 2 * 4096


def test_the_threshold_is_asked_a_few_times_however_many_chunks_there_are():
    asked = []

    class Counting(AboveTheMean):
        def decide(self, difficulty):
            asked.append(difficulty.numel())
            return super().decide(difficulty)

    run(Counting(), "chunked", batch(sentences=128, length=32), False, 4)
    # Once for each doubling of 4 rows up to 4096, and in the end.
    assert len(asked) <= 12 and set(asked) == {4096}


def test_a_guess_takes_the_rest_of_the_batch_to_be_like_what_was_seen():
    sentences = torch.arange(40) // 5
    threshold = SelfEvolutionKD(threshold=THRESHOLDS[1]).threshold
    guess = decision.BatchDecision(threshold.decide_by_sentence, sentences)
    # Of 40 tokens the 7 hardest are hard, so of 10 alike about 2.
    hard = guess.on(slice(0, 10))(torch.arange(10.0))
    assert int(hard.sum()) in (1, 2)
