"""The invariants of the method, over random rows, against its float64 definition."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from method_cases import (
    ALL_HARD,
    EASY,
    KERNELS,
    SMALL,
    batches,
    build,
    define,
    fixed,
    loss_and_gradient,
    settings_of_method,
)
from method_definition import DIVERGENCES, PROXIES, finite_difference

from sekd_plugin import CrossEntropy, SelfEvolutionKD, WordKD
from sekd_plugin.kernels.fused import ChunkBytes


@given(batches(), settings_of_method, KERNELS)
def test_the_criterion_equals_its_definition_in_value_and_gradient(batch, settings, kernel):
    student, teacher, targets = batch
    leaf = student.clone().requires_grad_(True)
    difficulty, hard, losses = define(settings, leaf, teacher, targets)
    (expected,) = torch.autograd.grad(losses.sum(), leaf)

    output, gradient = loss_and_gradient(build(settings, kernel), student, teacher, targets)

    torch.testing.assert_close(output.difficulty, difficulty, rtol=1e-7, atol=1e-9)
    near = (difficulty - settings["gamma"]).abs() < 1e-9
    assert torch.equal(output.hard[~near], hard[~near])
    if not near.any():
        torch.testing.assert_close(output.token_loss, losses.detach(), rtol=1e-7, atol=1e-9)
        torch.testing.assert_close(gradient, expected, rtol=1e-6, atol=1e-8)
        assert output.loss.item() == pytest.approx(float(losses.sum()), rel=1e-8, abs=1e-9)
    assert output.num_targets == len(targets)
    assert output.gamma == settings["gamma"]
    assert not (output.difficulty.requires_grad or output.token_loss.requires_grad)


@given(batches(max_rows=3, max_words=5, scale=2.0), settings_of_method, KERNELS)
def test_the_gradient_is_that_of_finite_differences(batch, settings, kernel):
    student, teacher, targets = batch
    if settings["proxy"] == "detached":
        return  # its gradient leaves a part out on purpose; the definition above covers it
    criterion = build(settings, kernel)
    output, gradient = loss_and_gradient(criterion, student, teacher, targets)
    if ((output.difficulty - settings["gamma"]).abs() < 1e-3).any():
        return  # a step might cross the threshold
    numeric = finite_difference(
        lambda point: criterion(point, teacher, targets).loss, student.clone()
    )
    torch.testing.assert_close(gradient, numeric, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("divergence", sorted(DIVERGENCES))
@pytest.mark.parametrize("proxy", ["linear", "log_linear"])
def test_autograds_own_gradient_check_passes(divergence, proxy):
    torch.manual_seed(0)
    criterion = SelfEvolutionKD(
        divergence=DIVERGENCES[divergence][0], proxy=proxy, threshold=fixed(0.4)
    )
    criterion.chunk_bytes = SMALL
    student = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    teacher, targets = torch.randn(4, 5, dtype=torch.float64), torch.tensor([0, 1, 2, 3])
    assert torch.autograd.gradcheck(lambda z: criterion(z, teacher, targets).loss, student)


@given(batches(), settings_of_method, KERNELS)
def test_difficulty_is_never_negative_and_is_zero_only_at_the_target(batch, settings, kernel):
    student, teacher, targets = batch
    criterion = build(settings, kernel)
    output = criterion(student, teacher, targets)
    assert (output.difficulty >= -1e-12).all()

    weight = settings["teacher_weight"]
    teacher_p = torch.softmax(teacher / settings["temperature"], -1)
    target = weight * teacher_p
    target[torch.arange(len(targets)), targets] += 1 - weight
    equal = criterion(target.log() * settings["temperature"], teacher, targets)
    assert (equal.difficulty.abs() < 1e-9).all()
    apart = (torch.softmax(student / settings["temperature"], -1) - target).abs().amax(-1) > 0.05
    assert (output.difficulty[apart] > 1e-4).all()


@given(batches(), st.sampled_from([0.1, 0.5, 0.9]))
def test_a_hard_forward_kl_is_at_most_beta_times_the_easy_one_and_grows_with_beta(batch, weight):
    student, teacher, targets = batch
    before = torch.zeros(len(targets), dtype=torch.float64)
    for beta in (0.0, 0.2, 0.5, 0.8, 1.0):
        output = SelfEvolutionKD(teacher_weight=weight, beta=beta, threshold=ALL_HARD)(
            student, teacher, targets
        )
        assert (output.token_loss <= beta * output.difficulty + 1e-10).all()
        assert (output.token_loss >= before - 1e-10).all()
        before = output.token_loss


@given(batches(), settings_of_method, KERNELS, st.floats(-50, 50))
def test_a_constant_added_to_a_row_of_logits_changes_nothing(batch, settings, kernel, constant):
    student, teacher, targets = batch
    criterion = build(settings, kernel)
    output, gradient = loss_and_gradient(criterion, student, teacher, targets)
    moved, slope = loss_and_gradient(criterion, student + constant, teacher - constant, targets)
    torch.testing.assert_close(moved.difficulty, output.difficulty, rtol=1e-8, atol=1e-9)
    if not ((output.difficulty - settings["gamma"]).abs() < 1e-8).any():
        torch.testing.assert_close(slope, gradient, rtol=1e-7, atol=1e-9)


@given(batches(), settings_of_method, KERNELS, st.randoms(use_true_random=False))
def test_permuting_words_or_tokens_permutes_the_result(batch, settings, kernel, draw):
    student, teacher, targets = batch
    criterion = build(settings, kernel)
    output, gradient = loss_and_gradient(criterion, student, teacher, targets)
    if ((output.difficulty - settings["gamma"]).abs() < 1e-8).any():
        return
    words, tokens = list(range(student.shape[1])), list(range(student.shape[0]))
    draw.shuffle(words)
    draw.shuffle(tokens)
    place = torch.tensor([words.index(word) for word in targets.tolist()])

    mixed, slope = loss_and_gradient(criterion, student[:, words], teacher[:, words], place)
    torch.testing.assert_close(mixed.token_loss, output.token_loss, rtol=1e-8, atol=1e-9)
    torch.testing.assert_close(slope, gradient[:, words], rtol=1e-7, atol=1e-9)

    mixed, slope = loss_and_gradient(criterion, student[tokens], teacher[tokens], targets[tokens])
    torch.testing.assert_close(mixed.token_loss, output.token_loss[tokens], rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(slope, gradient[tokens], rtol=1e-9, atol=1e-10)


POISON = [math.nan, math.inf, -math.inf, 1e30]


@given(batches(), settings_of_method, KERNELS, st.data())
def test_masked_tokens_have_no_influence_whatever_they_hold(batch, settings, kernel, data):
    student, teacher, targets = batch
    rows = student.shape[0]
    keep = torch.tensor(data.draw(st.lists(st.booleans(), min_size=rows, max_size=rows)))
    poison = data.draw(st.sampled_from(POISON))
    dirty_student, dirty_teacher, dirty_targets = student.clone(), teacher.clone(), targets.clone()
    dirty_student[~keep], dirty_teacher[~keep] = poison, poison
    dirty_targets[~keep] = data.draw(st.sampled_from([-100, -1, 10**9]))
    criterion = build(settings, kernel)

    output, gradient = loss_and_gradient(
        criterion, dirty_student, dirty_teacher, dirty_targets, keep
    )
    clean, slope = loss_and_gradient(criterion, student[keep], teacher[keep], targets[keep])

    assert output.num_targets == int(keep.sum())
    assert torch.equal(output.token_loss, clean.token_loss)
    assert torch.equal(gradient[keep], slope)
    assert (gradient[~keep] == 0).all()


@given(batches(max_rows=8), settings_of_method, KERNELS, st.integers(0, 8))
def test_the_sum_over_a_batch_is_the_sum_over_any_split_of_it(batch, settings, kernel, cut):
    student, teacher, targets = batch
    criterion = build(settings, kernel)
    whole, gradient = loss_and_gradient(criterion, student, teacher, targets)
    parts = [slice(0, cut), slice(cut, None)]
    halves = [loss_and_gradient(criterion, student[p], teacher[p], targets[p]) for p in parts]
    assert sum(half.num_targets for half, _ in halves) == whole.num_targets
    assert float(sum(half.loss for half, _ in halves)) == pytest.approx(float(whole.loss), abs=1e-9)
    slopes = torch.cat([slope for _, slope in halves])
    torch.testing.assert_close(slopes, gradient, rtol=1e-10, atol=1e-12)


@given(batches(), settings_of_method, KERNELS)
def test_every_row_of_the_gradient_sums_to_zero(batch, settings, kernel):
    _, gradient = loss_and_gradient(build(settings, kernel), *batch)
    assert (gradient.sum(-1).abs() < 1e-9).all()


@given(batches(max_rows=9), settings_of_method, st.integers(1, 400), st.integers(1, 400))
def test_chunk_sizes_and_paths_change_nothing_beyond_rounding(batch, settings, outer, inner):
    student, teacher, targets = batch
    expected, gradient = loss_and_gradient(build(settings, "reference"), student, teacher, targets)
    criterion = build(settings)
    criterion.chunk_bytes = ChunkBytes(logits_bytes=outer, cache_bytes=inner)
    output, slope = loss_and_gradient(criterion, student, teacher, targets)
    torch.testing.assert_close(output.difficulty, expected.difficulty, rtol=1e-9, atol=1e-11)
    if ((output.difficulty - settings["gamma"]).abs() < 1e-8).any():
        return
    torch.testing.assert_close(output.token_loss, expected.token_loss, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(slope, gradient, rtol=1e-7, atol=1e-10)
    torch.testing.assert_close(output.cross_entropy, expected.cross_entropy)
    assert torch.equal(output.agreement, expected.agreement)


@given(batches(max_rows=7), settings_of_method, st.sampled_from(["batch", "gamma"]), st.booleans())
def test_hidden_states_give_what_their_logits_give(batch, settings, decided_by, with_bias):
    _, teacher, targets = batch
    rows, words = teacher.shape
    hidden = torch.randn(rows, 4, dtype=torch.float64)
    weight = torch.randn(words, 4, dtype=torch.float64)
    bias = torch.randn(words, dtype=torch.float64) if with_bias else None
    teacher_hidden = torch.randn(rows, 3, dtype=torch.float64)
    teacher_weight = torch.randn(words + 2, 3, dtype=torch.float64)
    criterion, expected = build(settings), build(settings, "reference")
    if decided_by == "batch":
        for each in (criterion, expected):
            each.threshold = SelfEvolutionKD(
                threshold={"name": "top_k", "config": {"ratio": 0.5}}
            ).threshold

    def run(criterion, linear):
        leaves = [hidden.clone().requires_grad_(), weight.clone().requires_grad_()]
        if bias is not None:
            leaves.append(bias.clone().requires_grad_())
        shift = leaves[2] if bias is not None else None
        if linear:
            output = criterion.forward_linear(
                leaves[0], leaves[1], teacher_hidden, teacher_weight, targets, student_bias=shift
            )
        else:
            logits = torch.nn.functional.linear(leaves[0], leaves[1], shift)
            output = criterion(logits, teacher_hidden @ teacher_weight.T, targets)
        return output, torch.autograd.grad(output.loss, leaves)

    output, gradients = run(criterion, True)
    wanted, slopes = run(expected, False)
    if ((wanted.difficulty - wanted.gamma).abs() < 1e-8).any() and decided_by == "gamma":
        return
    assert torch.equal(output.hard, wanted.hard)
    torch.testing.assert_close(output.token_loss, wanted.token_loss, rtol=1e-8, atol=1e-10)
    for gradient, slope in zip(gradients, slopes, strict=True):
        torch.testing.assert_close(gradient, slope, rtol=1e-6, atol=1e-9)


EXTREME = [1e4, -1e4, 0.0, 1.0, -math.inf, 80.0, -110.0]


@given(st.data(), st.sampled_from([torch.float32, torch.float64]), KERNELS)
def test_extreme_logits_give_finite_losses_and_gradients(data, dtype, kernel):
    rows, words = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 5))
    row = st.lists(st.sampled_from(EXTREME), min_size=words, max_size=words)
    student = torch.tensor([data.draw(row) for _ in range(rows)], dtype=dtype)
    teacher = torch.tensor([data.draw(row) for _ in range(rows)], dtype=dtype)
    targets = torch.tensor([data.draw(st.integers(0, words - 1)) for _ in range(rows)])
    banned = torch.isneginf(student) | torch.isneginf(teacher)
    student, teacher = (
        student.masked_fill(banned, -math.inf),
        teacher.masked_fill(banned, -math.inf),
    )
    student[torch.arange(rows), targets] = student[torch.arange(rows), targets].clamp(min=-1e4)
    teacher[torch.arange(rows), targets] = teacher[torch.arange(rows), targets].clamp(min=-1e4)
    weight = data.draw(st.sampled_from([0.0, 0.5, 1.0]))
    for threshold in (EASY, ALL_HARD):
        for proxy in sorted(PROXIES):
            criterion = SelfEvolutionKD(teacher_weight=weight, threshold=threshold, proxy=proxy)
            criterion.kernel = kernel
            output, gradient = loss_and_gradient(criterion, student, teacher, targets)
            assert output.loss.isfinite()
            assert gradient.isfinite().all()
            assert (output.difficulty >= -1e-6).all()


@given(KERNELS, st.integers(0, 3), st.integers(1, 4), settings_of_method)
def test_a_batch_without_targets_costs_nothing_and_learns_nothing(kernel, rows, words, settings):
    student = torch.randn(rows, words, dtype=torch.float64)
    mask = torch.zeros(rows, dtype=torch.bool)
    criterion = build(settings, kernel)
    output, gradient = loss_and_gradient(
        criterion, student, student, torch.zeros(rows, dtype=torch.int64), mask
    )
    assert output.loss == 0.0 and output.num_targets == 0
    assert torch.equal(gradient, torch.zeros_like(student))
    criterion.step()


@given(st.integers(0, 2**31), KERNELS, st.sampled_from([torch.bfloat16, torch.float16]))
def test_half_precision_logits_give_what_they_give_upcast(seed, kernel, dtype):
    torch.manual_seed(seed)
    student, teacher = (torch.randn(4, 60) * 4).to(dtype), (torch.randn(4, 60) * 4).to(dtype)
    targets = torch.randint(0, 60, (4,))
    criterion = SelfEvolutionKD(threshold=fixed(3.0))
    criterion.kernel = kernel
    criterion.chunk_bytes = SMALL
    half, slope = loss_and_gradient(criterion, student, teacher, targets)
    full, gradient = loss_and_gradient(criterion, student.float(), teacher.float(), targets)
    torch.testing.assert_close(half.token_loss, full.token_loss, rtol=1e-5, atol=1e-6)
    assert half.token_loss.dtype == half.loss.dtype == torch.float32
    assert slope.dtype == dtype
    torch.testing.assert_close(slope, gradient.to(dtype), rtol=1e-2, atol=1e-4)
    same, _ = loss_and_gradient(criterion, student, student, student.argmax(-1))
    assert (same.difficulty >= -1e-6).all()


@given(batches(max_rows=8), st.floats(0, 3), st.floats(0, 3))
def test_raising_gamma_never_adds_a_hard_token(batch, first, second):
    low, high = sorted((first, second))
    student, teacher, targets = batch
    few = SelfEvolutionKD(threshold=fixed(high))(student, teacher, targets).hard
    many = SelfEvolutionKD(threshold=fixed(low))(student, teacher, targets).hard
    assert (few <= many).all()


@given(batches(), st.sampled_from([0.1, 0.5, 0.9]), st.sampled_from([0.0, 0.5, 0.9]))
def test_the_hard_gradient_on_the_gold_logit_is_bounded_by_the_students_belief(batch, weight, beta):
    student, teacher, targets = batch
    criterion = SelfEvolutionKD(teacher_weight=weight, beta=beta, threshold=ALL_HARD)
    _, gradient = loss_and_gradient(criterion, student, teacher, targets)
    gold = torch.arange(len(targets)), targets
    bound = beta * torch.softmax(student, -1)[gold] / (1 - beta)
    assert (gradient[gold].abs() <= bound + 1e-12).all()


@given(batches(), KERNELS, st.sampled_from([0.0, 0.3, 1.0]))
def test_degenerate_settings_come_out_as_what_they_are(batch, kernel, beta):
    student, teacher, targets = batch
    cross_entropy = torch.nn.functional.cross_entropy(student, targets, reduction="none")
    word_kd = torch.nn.functional.kl_div(
        torch.log_softmax(student, -1),
        torch.log_softmax(teacher, -1),
        log_target=True,
        reduction="none",
    ).sum(-1)

    def losses(**settings):
        criterion = SelfEvolutionKD(**settings)
        criterion.kernel = kernel
        return loss_and_gradient(criterion, student, teacher, targets)

    none_hard, _ = losses(teacher_weight=0.0, threshold=EASY)
    torch.testing.assert_close(none_hard.token_loss, cross_entropy, rtol=1e-10, atol=1e-12)
    taught, _ = losses(teacher_weight=1.0, threshold=EASY, beta=beta)
    torch.testing.assert_close(taught.token_loss, word_kd, rtol=1e-8, atol=1e-10)

    hard, slope = losses(beta=1.0, threshold=ALL_HARD)
    easy, gradient = losses(beta=1.0, threshold=EASY)
    assert torch.equal(hard.token_loss, easy.token_loss)
    torch.testing.assert_close(slope, gradient, rtol=1e-12, atol=1e-14)

    nothing, slope = losses(beta=0.0, threshold=ALL_HARD)
    assert torch.equal(nothing.token_loss, torch.zeros_like(nothing.token_loss))
    assert torch.equal(slope, torch.zeros_like(slope))

    plain, slope = losses(threshold=EASY, beta=beta)
    baseline = WordKD()
    baseline.kernel = kernel
    expected, gradient = loss_and_gradient(baseline, student, teacher, targets)
    assert torch.equal(plain.token_loss, expected.token_loss)
    assert torch.equal(slope, gradient)


@given(batches(), KERNELS)
def test_cross_entropy_is_torchs_and_needs_no_teacher(batch, kernel):
    student, _, targets = batch
    criterion = CrossEntropy()
    criterion.kernel = kernel
    output, gradient = loss_and_gradient(criterion, student, None, targets)
    leaf = student.clone().requires_grad_(True)
    expected = torch.nn.functional.cross_entropy(leaf, targets, reduction="sum")
    (slope,) = torch.autograd.grad(expected, leaf)
    torch.testing.assert_close(output.loss, expected.detach())
    torch.testing.assert_close(gradient, slope)
    torch.testing.assert_close(output.cross_entropy, output.token_loss)
    assert not output.hard.any() and output.agreement is None and output.gamma == math.inf


@given(batches(), KERNELS, st.sampled_from([0.5, 3.0]), st.sampled_from(sorted(PROXIES)))
def test_temperature_squared_scales_value_and_gradient_alike_but_not_the_difficulty(
    batch, kernel, temperature, proxy
):
    student, teacher, targets = batch

    def run(squared):
        criterion = SelfEvolutionKD(
            temperature=temperature,
            temperature_squared=squared,
            proxy=proxy,
            threshold=fixed(0.3),
        )
        criterion.kernel = kernel
        return loss_and_gradient(criterion, student, teacher, targets)

    plain, gradient = run(False)
    scaled, slope = run(True)
    assert torch.equal(plain.difficulty, scaled.difficulty)
    factor = temperature**2
    torch.testing.assert_close(scaled.token_loss, plain.token_loss * factor)
    torch.testing.assert_close(slope, gradient * factor)
    assert float(scaled.loss) == pytest.approx(float(plain.loss) * factor)


@given(batches(), st.sampled_from([0.25, 0.9]))
def test_rescale_divides_the_hard_loss_and_its_gradient_by_beta(batch, beta):
    student, teacher, targets = batch

    def run(rescale):
        proxy = {"name": "linear", "config": {"rescale": rescale}}
        criterion = SelfEvolutionKD(beta=beta, proxy=proxy, threshold=fixed(0.5))
        return loss_and_gradient(criterion, student, teacher, targets)

    plain, gradient = run(False)
    scaled, slope = run(True)
    factor = torch.where(plain.hard, 1 / beta, 1.0).double()
    torch.testing.assert_close(scaled.token_loss, plain.token_loss * factor)
    torch.testing.assert_close(slope, gradient * factor[:, None])


@given(batches(), st.integers(1, 5), KERNELS)
def test_a_teacher_with_padding_words_counts_by_its_shared_words_alone(batch, extra, kernel):
    student, teacher, targets = batch
    padded = torch.cat([teacher, torch.full((len(targets), extra), 30.0).double()], dim=-1)
    criterion = SelfEvolutionKD(threshold=fixed(0.5))
    criterion.kernel = kernel
    expected, gradient = loss_and_gradient(criterion, student, teacher, targets)
    output, slope = loss_and_gradient(criterion, student, padded, targets)
    assert torch.equal(output.token_loss, expected.token_loss)
    assert torch.equal(slope, gradient)
