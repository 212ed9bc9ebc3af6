"""A teacher known by its likeliest words: the divergence of the coarsened distributions."""

import dataclasses
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from method_definition import DIVERGENCES, PROXIES, method

from sekd_plugin import NonFiniteLogitsError, SelfEvolutionKD
from sekd_plugin.kernels.fused import ChunkBytes
from sekd_plugin.kernels.row_kernel import dense
from sekd_plugin.kernels.sparse import SparseRows
from sekd_plugin.rows import TargetRows
from sekd_plugin.teachers import SparseTeacher

EVERY = sorted(DIVERGENCES)


def sparse_teacher(logits, targets, k, temperature=1.0):
    log_p = torch.log_softmax(logits.double() / temperature, dim=-1)
    found = log_p.topk(k, dim=-1)
    rest = log_p.scatter(-1, found.indices, -math.inf)
    return SparseTeacher(
        indices=found.indices,
        log_probabilities=found.values,
        log_tail=torch.logsumexp(rest, dim=-1),
        log_gold=log_p.gather(-1, targets.unsqueeze(-1)).squeeze(-1),
        temperature=temperature,
    )


def coarse(student, teacher, targets, k, temperature):
    """Logits of both on the listed words, the gold word and the rest, and the gold's place."""
    q, p = (torch.softmax(each.double() / temperature, -1) for each in (student, teacher))
    columns, golds = ([], []), []
    for row, gold in enumerate(targets.tolist()):
        words = p[row].topk(k).indices.tolist()
        words = words if gold in words else [*words, gold]
        rest = [word for word in range(p.shape[1]) if word not in words]
        groups = [[word] for word in words] + ([rest] if rest else [])
        golds.append(words.index(gold))
        for column, each in zip(columns, (q, p), strict=True):
            column.append(torch.stack([each[row, group].sum() for group in groups]))
    return columns, golds


def batch(seed, rows=5, words=11, spread=3.0):
    torch.manual_seed(seed)
    student = torch.randn(rows, words, dtype=torch.float64) * spread
    teacher = torch.randn(rows, words, dtype=torch.float64) * spread
    return student, teacher, torch.randint(0, words, (rows,))


def criterion_of(**settings):
    criterion = SelfEvolutionKD(
        threshold={"name": "fixed", "config": {"gamma": 0.5}}, beta=0.6, **settings
    )
    criterion.chunk_bytes = ChunkBytes(logits_bytes=4 * 11 * 4, cache_bytes=4 * 11 * 2)
    return criterion


@given(
    st.integers(0, 10**6),
    st.integers(1, 11),
    st.sampled_from(EVERY),
    st.sampled_from(sorted(PROXIES)),
    st.sampled_from([1.0, 2.0]),
    st.sampled_from([0.3, 1.0]),
)
def test_it_equals_the_definition_on_the_coarsened_distributions(
    seed, k, name, proxy, temperature, weight
):
    student, teacher, targets = batch(seed)
    section, divergence = DIVERGENCES[name]
    criterion = criterion_of(
        divergence=section, proxy=proxy, temperature=temperature, teacher_weight=weight
    )
    leaf = student.clone().requires_grad_()
    output = criterion(leaf, sparse_teacher(teacher, targets, k, temperature), targets)
    (gradient,) = torch.autograd.grad(output.loss, leaf)

    exact = student.clone().requires_grad_()
    (q_rows, p_rows), golds = coarse(exact, teacher, targets, k, temperature)
    total = torch.zeros((), dtype=torch.float64)
    for row, (q, p, gold) in enumerate(zip(q_rows, p_rows, golds, strict=True)):
        difficulty, hard, losses = method(
            q.log()[None],
            p.log()[None],
            torch.tensor([gold]),
            teacher_weight=weight,
            beta=0.6,
            gamma=0.5,
            divergence=divergence,
            proxy=PROXIES[proxy],
        )
        torch.testing.assert_close(output.difficulty[row], difficulty[0])
        assert bool(output.hard[row]) == bool(hard[0])
        torch.testing.assert_close(output.token_loss[row], losses[0].detach())
        total = total + losses[0]
    (expected,) = torch.autograd.grad(total, exact)
    torch.testing.assert_close(gradient, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("name", EVERY)
def test_with_every_word_listed_it_equals_the_live_teacher(name, linear):
    student, teacher, targets = batch(1)
    weight = torch.eye(11, dtype=torch.float64)

    def run(given):
        leaf = student.clone().requires_grad_()
        criterion = criterion_of(divergence=DIVERGENCES[name][0])
        if linear:
            output = criterion.forward_linear(leaf, weight, targets=targets, teacher_logits=given)
        else:
            output = criterion(leaf, given, targets)
        return output, torch.autograd.grad(output.loss, leaf)[0]

    live, slope = run(teacher)
    output, gradient = run(sparse_teacher(teacher, targets, 11))
    torch.testing.assert_close(output.difficulty, live.difficulty)
    torch.testing.assert_close(output.cross_entropy, live.cross_entropy)
    assert torch.equal(output.agreement, live.agreement)
    assert torch.equal(output.hard, live.hard)
    torch.testing.assert_close(gradient, slope)


@given(st.integers(0, 10**6), st.sampled_from(EVERY))
def test_it_is_never_above_the_exact_divergence_and_comes_closer_with_more_words(seed, name):
    student, teacher, targets = batch(seed)
    criterion = criterion_of(divergence=DIVERGENCES[name][0])
    exact = criterion(student, teacher, targets).difficulty
    before = torch.zeros_like(exact)
    for k in (1, 3, 6, 10):
        found = criterion(student, sparse_teacher(teacher, targets, k), targets).difficulty
        assert (found >= before - 1e-9).all() and (found <= exact + 1e-9).all()
        before = found


@pytest.mark.parametrize("name", EVERY)
def test_it_is_zero_where_student_and_target_are_equal(name):
    _, teacher, targets = batch(4)
    criterion = criterion_of(divergence=DIVERGENCES[name][0], teacher_weight=1.0)
    output = criterion(teacher + 3.0, sparse_teacher(teacher, targets, 4), targets)
    assert (output.difficulty.abs() < 1e-12).all()


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_what_is_reported_is_of_all_words_and_without_temperature(temperature):
    student, teacher, targets = batch(8, rows=40)
    given = sparse_teacher(teacher, targets, 3, temperature)
    output = criterion_of(temperature=temperature)(student, given, targets)
    gold = torch.log_softmax(student, -1).gather(-1, targets[:, None])[:, 0]
    torch.testing.assert_close(output.cross_entropy, -gold)
    agrees = student.argmax(-1) == teacher.argmax(-1)
    assert torch.equal(output.agreement, agrees) and 0 < agrees.sum() < 40


def test_masked_positions_may_hold_anything():
    student, teacher, targets = batch(2)
    keep = torch.tensor([True, False, True, True, False])
    given = sparse_teacher(teacher, targets, 3)
    clean = criterion_of()(student[keep], given[keep.nonzero().squeeze(-1)], targets[keep])
    given.indices[~keep], given.log_tail[~keep], student[~keep] = -7, math.nan, math.nan
    output = criterion_of()(student, given, targets.masked_fill(~keep, -100), keep)
    assert torch.equal(output.token_loss, clean.token_loss)


def test_what_does_not_fit_is_refused_with_both_sides():
    student, teacher, targets = batch(3)
    with pytest.raises(ValueError, match=r"temperature 2\.0, the criterion 1\.0"):
        criterion_of()(student, sparse_teacher(teacher, targets, 3, temperature=2.0), targets)
    with pytest.raises(ValueError, match="the word 10, outside the student's vocabulary of 6"):
        wide = sparse_teacher(teacher, targets, 11)
        criterion_of()(student[:, :6], wide, targets.clamp(max=5))
    whole = sparse_teacher(teacher, targets, 3)
    with pytest.raises(ValueError, match=r"\(5, 3\), log_probabilities \(5, 2\)"):
        cut = dataclasses.replace(whole, log_probabilities=whole.log_probabilities[:, :2])
        criterion_of()(student, cut, targets)
    with pytest.raises(ValueError, match="indices"):
        criterion_of()(student[:3], sparse_teacher(teacher, targets, 3), targets[:3])


def test_a_teacher_that_lists_nothing_is_the_gold_word_and_the_rest():
    student, teacher, targets = batch(5)
    output = criterion_of(teacher_weight=1.0)(student, sparse_teacher(teacher, targets, 0), targets)
    gold = torch.softmax(teacher, -1).gather(-1, targets[:, None])[:, 0]
    believed = torch.softmax(student, -1).gather(-1, targets[:, None])[:, 0]
    expected = gold * (gold / believed).log() + (1 - gold) * ((1 - gold) / (1 - believed)).log()
    torch.testing.assert_close(output.difficulty, expected)
    assert not output.agreement.any()


def test_a_batch_without_targets_may_have_a_sparse_teacher():
    student, teacher, targets = batch(6)
    none = torch.zeros(5, dtype=torch.bool)
    output = criterion_of()(student, sparse_teacher(teacher, targets, 3), targets, none)
    assert output.num_targets == 0 and output.loss == 0.0


def test_undefined_probabilities_are_the_teacher_s():
    student, teacher, targets = batch(7)
    given = sparse_teacher(teacher, targets, 3)
    given.log_probabilities[2, 0] = math.nan
    with pytest.raises(NonFiniteLogitsError, match=r"the teacher's .* target row 2"):
        criterion_of()(student, given, targets)
    assert given[torch.tensor([2])].indices.shape == (1, 3)


def test_a_kernel_for_sparse_teachers_takes_no_other():
    student, teacher, targets = batch(8)
    kernel = SparseRows(criterion_of(), 1.0)
    with pytest.raises(TypeError, match="a sparse teacher is needed, not Tensor"):
        kernel.losses(student, teacher, targets, lambda d: d > 0, None)
    with pytest.raises(TypeError, match="a sparse teacher has no logits"):
        dense(sparse_teacher(teacher, targets, 3))


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("proxy", sorted(PROXIES))
def test_a_place_without_probability_lists_nothing(name, proxy):
    """Rows that list 1 to 5 words, side by side, have the numbers that each has by itself."""
    student, teacher, targets = batch(9)
    criterion = criterion_of(divergence=DIVERGENCES[name][0], proxy=proxy)
    alone = [
        sparse_teacher(teacher[row : row + 1], targets[row : row + 1], 1 + row) for row in range(5)
    ]

    def filled(values, filling):
        return torch.cat([torch.nn.functional.pad(each, (0, 4 - row), value=filling)
                          for row, each in enumerate(values)])  # fmt: skip

    together = SparseTeacher(
        # Zero is a word of its own, and in some rows a listed or the gold one.
        indices=filled([each.indices for each in alone], 0),
        log_probabilities=filled([each.log_probabilities for each in alone], -math.inf),
        log_tail=torch.cat([each.log_tail for each in alone]),
        log_gold=torch.cat([each.log_gold for each in alone]),
    )
    leaf = student.clone().requires_grad_()
    output = criterion(leaf, together, targets)
    (gradient,) = torch.autograd.grad(output.loss, leaf)
    for row, given_alone in enumerate(alone):
        one = student[row : row + 1].clone().requires_grad_()
        expected = criterion(one, given_alone, targets[row : row + 1])
        (slope,) = torch.autograd.grad(expected.loss, one)
        torch.testing.assert_close(output.difficulty[row : row + 1], expected.difficulty)
        torch.testing.assert_close(output.token_loss[row : row + 1], expected.token_loss)
        assert output.agreement[row] == expected.agreement[0]
        torch.testing.assert_close(gradient[row : row + 1], slope)


@pytest.mark.parametrize("name", EVERY)
def test_a_word_that_the_teacher_holds_impossible_may_be_of_the_tail(name):
    student, teacher, targets = batch(10)
    teacher[:, 3] = -math.inf
    teacher[1, targets[1]] = -math.inf
    criterion = criterion_of(divergence=DIVERGENCES[name][0])
    runs = []
    for given_teacher in (teacher, sparse_teacher(teacher, targets, 11)):
        leaf = student.clone().requires_grad_()
        output = criterion(leaf, given_teacher, targets)
        runs.append((output.difficulty, *torch.autograd.grad(output.loss, leaf)))
    torch.testing.assert_close(runs[1][0], runs[0][0])
    finite = torch.isfinite(runs[0][0])
    torch.testing.assert_close(runs[1][1][finite], runs[0][1][finite])


def test_rows_find_their_places_in_the_batch_again():
    _, teacher, targets = batch(2)
    keep = torch.tensor([[True, False, True], [False, True, True], [True, False, False]])
    rows = TargetRows.of(torch.zeros(3, 3, dtype=torch.long), keep)
    given_teacher = sparse_teacher(teacher, targets, 3)
    placed = given_teacher.placed(rows)
    assert placed.indices.shape == (3, 3, 3) and placed.log_tail.shape == (3, 3)
    back = placed.to(torch.device("cpu")).take(rows, 11)
    for name in ("indices", "log_probabilities", "log_tail", "log_gold"):
        assert torch.equal(getattr(back, name), getattr(given_teacher, name))
    whole = TargetRows.of(targets, None)
    assert torch.equal(given_teacher.placed(whole).indices, given_teacher.indices)
