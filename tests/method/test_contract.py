"""What users and toolkits rely on: shapes, errors, steps and state."""

import copy
import math

import pytest
import torch

from sekd_plugin import (
    NonFiniteLogitsError,
    Schedule,
    SelfEvolutionKD,
    WordKD,
)


def batch(rows=6, words=7, seed=0):
    torch.manual_seed(seed)
    return torch.randn(rows, words), torch.randn(rows, words), torch.randint(0, words, (rows,))


@pytest.mark.parametrize("shape", [(6,), (2, 3), (1, 2, 3)])
def test_leading_dimensions_flatten_and_rows_keep_the_masks_order(shape):
    student, teacher, targets = batch()
    mask = torch.tensor([True, False, True, True, False, True])
    flat = SelfEvolutionKD()(student, teacher, targets, mask)
    shaped = SelfEvolutionKD()(
        student.reshape(*shape, 7),
        teacher.reshape(*shape, 7),
        targets.reshape(shape),
        mask.reshape(shape),
    )
    assert torch.equal(flat.token_loss, shaped.token_loss)
    alone = [SelfEvolutionKD()(student[r], teacher[r], targets[r]) for r in (0, 2, 3, 5)]
    torch.testing.assert_close(flat.difficulty, torch.cat([one.difficulty for one in alone]))
    assert isinstance(flat.num_targets, int) and flat.num_targets == 4
    assert isinstance(flat.gamma, float)
    assert flat.hard.dtype == torch.bool and flat.loss.ndim == 0


def test_the_teacher_gets_no_gradient():
    student, teacher, targets = batch()
    teacher.requires_grad_(True)
    student.requires_grad_(True)
    for kernel in ("reference", "chunked"):
        criterion = SelfEvolutionKD(threshold={"name": "fixed", "config": {"gamma": 1.0}})
        criterion.kernel = kernel
        criterion(student, teacher, targets).loss.backward()
    assert teacher.grad is None and student.grad is not None


def test_without_a_gradient_wanted_none_is_formed():
    student, teacher, targets = batch()
    assert not SelfEvolutionKD()(student, teacher, targets).loss.requires_grad


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s, t, y, m: (s, t[:, :5], y, m), ["has 5 words", "7"]),
        (lambda s, t, y, m: (s[:4], t, y, m), [r"\(4, 7\)", r"\(6,\)"]),
        (lambda s, t, y, m: (s, t[:4], y, m), ["teacher_logits", r"\(4, 7\)"]),
        (lambda s, t, y, m: (s, t, y, m[:3]), [r"\(3,\)", r"\(6,\)"]),
        (lambda s, t, y, m: (s, t, y.float(), m), ["token ids"]),
        (lambda s, t, y, m: (s, t, y, m.float()), ["bool"]),
        (lambda s, t, y, m: (s, t, y + 7, m), ["outside the vocabulary of 7"]),
        (lambda s, t, y, m: (s, t, y - 9, m), ["outside the vocabulary of 7"]),
        (lambda s, t, y, m: (s, None, y, m), ["teacher_logits are needed"]),
    ],
)
def test_what_does_not_fit_together_is_refused_with_both_sides(change, words):
    student, teacher, targets = batch()
    mask = torch.ones(6, dtype=torch.bool)
    for word in words:
        with pytest.raises(ValueError, match=word):
            SelfEvolutionKD()(*change(student, teacher, targets, mask))


@pytest.mark.parametrize("model", ["student", "teacher"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("kernel", ["reference", "chunked"])
@pytest.mark.parametrize("linear", [False, True])
def test_logits_that_are_not_finite_are_refused_by_model_and_row(model, value, kernel, linear):
    student, teacher, targets = batch()
    logits = {"student": student, "teacher": teacher}
    logits[model][3, 2] = value
    mask = torch.tensor([True, False, True, True, True, True])
    criterion = SelfEvolutionKD(threshold={"name": "top_k", "config": {"k": 2}})
    criterion.kernel = kernel
    with pytest.raises(NonFiniteLogitsError) as error:
        if linear:
            identity = torch.eye(7)
            broken = student.clone()
            criterion.forward_linear(
                broken, identity, targets=targets, mask=mask, teacher_logits=teacher
            )
        else:
            criterion(student, teacher, targets, mask)
    assert error.value.model == model
    assert error.value.rows == [2]
    assert "1 of 5 target tokens" in str(error.value)
    assert criterion.state_dict()["_extra_state"]["observed"].numel() == 0


def test_beta_moves_by_its_schedule_with_the_steps():
    criterion = SelfEvolutionKD(beta=Schedule(0.8, 0.4, 4))
    seen = []
    for _ in range(6):
        seen.append(criterion.beta)
        criterion(*batch())
        criterion.step()
    assert seen == pytest.approx([0.8, 0.7, 0.6, 0.5, 0.4, 0.4])


def test_a_schedule_may_be_written_as_a_mapping():
    criterion = SelfEvolutionKD(beta={"start": 0.0, "end": 1.0, "num_steps": 2})
    criterion.step()
    assert criterion.beta == 0.5


@pytest.mark.parametrize(
    "threshold",
    [
        "dynamic",
        {"name": "dynamic", "config": {"statistic": "quantile", "quantile": 0.7}},
        {"name": "schedule", "config": {"start": 2.0, "end": 0.5, "num_steps": 9}},
        {"name": "top_k", "config": {"ratio": 0.3}},
        {"name": "fixed", "config": {"gamma": 1.0}},
    ],
)
@pytest.mark.parametrize("in_the_middle", [False, True])
def test_state_survives_a_file_at_any_moment(threshold, in_the_middle, tmp_path):
    def make():
        return SelfEvolutionKD(threshold=threshold, beta=Schedule(0.9, 0.1, 7))

    def play(criterion, first, last):
        seen = []
        for number in range(first, last):
            output = criterion(*batch(seed=number))
            seen.append((output.gamma, float(output.loss), criterion.beta))
            if number % 2 == 1:
                criterion.step()
        return seen

    whole = play(make(), 0, 14)
    first = make()
    stop = 7 if in_the_middle else 8
    start = play(first, 0, stop)
    torch.save(first.state_dict(), tmp_path / "state.pt")
    second = make()
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert start + play(second, stop, 14) == whole


def test_evaluation_leaves_no_trace():
    criterion = SelfEvolutionKD()
    criterion(*batch(seed=1))
    twin = copy.deepcopy(criterion)
    criterion.eval()
    criterion(*batch(seed=2))
    criterion.train()
    criterion.step()
    twin.step()
    assert criterion.threshold.gamma == twin.threshold.gamma


def test_a_discarded_step_leaves_no_trace():
    criterion, twin = SelfEvolutionKD(), SelfEvolutionKD()
    criterion(*batch(seed=5))
    criterion.discard_step()
    for each in (criterion, twin):
        each(*batch(seed=1))
        each.step()
    assert criterion.threshold.gamma == twin.threshold.gamma


def test_a_step_does_not_change_with_the_cut_or_the_order_of_its_micro_batches():
    student, teacher, targets = batch(rows=24)
    gammas = set()
    for cuts in ([24], [12, 12], [6, 6, 6, 6], [1, 20, 3], [23, 1]):
        for reverse in (False, True):
            criterion = SelfEvolutionKD(threshold={"name": "dynamic", "config": {"momentum": 0.5}})
            for _ in range(3):
                parts, start = [], 0
                for size in cuts:
                    parts.append(slice(start, start + size))
                    start += size
                for part in reversed(parts) if reverse else parts:
                    criterion(student[part], teacher[part], targets[part])
                criterion.step()
            gammas.add(criterion.threshold.gamma)
    assert len(gammas) == 1


def test_an_unknown_kernel_is_refused_by_name():
    with pytest.raises(ValueError, match="did you mean 'chunked'"):
        WordKD().kernel = "chunk"


def test_agreement_and_cross_entropy_are_reported_for_each_token():
    student, teacher, targets = batch()
    output = SelfEvolutionKD(temperature=2.0)(student, teacher, targets)
    assert torch.equal(output.agreement, student.argmax(-1) == teacher.argmax(-1))
    expected = torch.nn.functional.cross_entropy(student, targets, reduction="none")
    torch.testing.assert_close(output.cross_entropy, expected)


def test_a_subclass_that_redefines_the_loss_is_computed_by_its_own_definition():
    class Doubled(SelfEvolutionKD):
        def self_evolution(self, log_target, log_student, hard):
            return 2.0 * super().self_evolution(log_target, log_student, hard)

    student, teacher, targets = batch()
    plain = SelfEvolutionKD()(student, teacher, targets)
    doubled = Doubled()(student, teacher, targets)
    torch.testing.assert_close(doubled.token_loss, 2.0 * plain.token_loss)


def test_errors_name_the_class_that_computed_a_quantity():
    criterion = SelfEvolutionKD(divergence="reverse_kl", difficulty="hellinger")
    assert criterion.computed_by("difficulty") == "Hellinger"
    assert criterion.computed_by("loss") == "ReverseKL"
