"""The passes of :mod:`sekd_plugin.kernels.passes` as Triton kernels, one program a row.

With b bytes a logit, V words and n rows of which h are hard, ``statistics`` and ``gradient`` read
2·b·n·V bytes each, ``gradient`` writes n·V gradients, and ``hard_sums`` reads 2·b·h·V. A row goes
by in tiles, once: the sums are kept a lane apart until it ends, and rescaled as the maxima move.

``statistics`` takes the first row first; the later passes begin with the last, which the L2 cache
still holds.

Import this module only where kernels are to be run: it needs Triton.
"""

# mypy: disallow-untyped-decorators=False
# Annotations are evaluated here: Triton reads those of a kernel's parameters.

import math
from contextlib import AbstractContextManager, nullcontext

import torch
import triton  # type: ignore[import-untyped,import-not-found,unused-ignore]
import triton.language as tl  # type: ignore[import-untyped,import-not-found,unused-ignore]
from torch import Tensor

from sekd_plugin.kernels.passes import PartialStatistics, RowStatistics, compute_dtype

LARGEST_TILE = 1024
"""Words that a program works on at a time; few, so that many programs share a multiprocessor and
one loads while others compute."""

_FINISHED_AT_ONCE = 256
"""Rows of a program that has only numbers per row to compute."""


def tiling(vocabulary: int) -> tuple[int, int]:
    """How many words a program works on at a time, a power of two, and with how many warps.

    Eight words a thread: a load of 16 bytes of bf16 or fp16, two of fp32.
    """
    tile = min(triton.next_power_of_2(max(vocabulary, 1)), LARGEST_TILE)
    return tile, max(tile // 256, 1)


def statistics(
    student: Tensor, teacher: Tensor, targets: Tensor, *, temperature: float, first_word: int
) -> PartialStatistics:
    """As :func:`sekd_plugin.kernels.passes.statistics`."""
    student, teacher, targets = _dense(student), _dense(teacher), targets.contiguous()
    num_rows, vocabulary = student.shape
    dtype = compute_dtype(student, teacher)
    found = torch.empty(9, num_rows, dtype=dtype, device=student.device)
    agreement = torch.empty(num_rows, dtype=torch.bool, device=student.device)
    tile, warps = tiling(vocabulary)
    if num_rows > 0:
        with _device_of(student):
            statistics_kernel[(num_rows,)](
                student,
                teacher,
                targets,
                found,
                agreement,
                num_rows,
                vocabulary,
                student.stride(0),
                teacher.stride(0),
                first_word,
                1.0 / temperature,
                SOFTENED=temperature != 1.0,
                DTYPE=_TRITON_DTYPES[dtype],
                TILE=tile,
                num_warps=warps,
            )
    return PartialStatistics(
        temperature=temperature,
        student_max=found[0],
        teacher_max=found[1],
        impossible_max=found[2],
        student_sum=found[3],
        unsoftened_sum=found[4],
        teacher_others=found[5],
        cross=found[6],
        gold_student=found[7],
        gold_teacher=found[8],
        agreement=agreement,
    )


def finish(partial: PartialStatistics, *, teacher_weight: float) -> RowStatistics:
    """As :func:`sekd_plugin.kernels.passes.finish`."""
    num_rows = partial.student_sum.numel()
    found = partial.student_sum.new_empty(4, num_rows)
    if num_rows > 0:
        with _device_of(found):
            finish_kernel[(triton.cdiv(num_rows, _FINISHED_AT_ONCE),)](
                partial.student_max,
                partial.teacher_max,
                partial.impossible_max,
                partial.student_sum,
                partial.unsoftened_sum,
                partial.teacher_others,
                partial.cross,
                partial.gold_student,
                partial.gold_teacher,
                found,
                num_rows,
                1.0 / partial.temperature,
                teacher_weight,
                1.0 - teacher_weight,
                math.log(teacher_weight) if teacher_weight > 0.0 else 0.0,
                TILE=_FINISHED_AT_ONCE,
                num_warps=4,
            )
    return RowStatistics(
        student_max=partial.student_max,
        student_sum=partial.student_sum,
        teacher_max=partial.teacher_max,
        teacher_sum=found[0],
        gold_target=found[1],
        difficulty=found[2],
        cross_entropy=found[3],
        agreement=partial.agreement,
    )


def hard_sums(
    student: Tensor,
    teacher: Tensor,
    targets: Tensor,
    statistics: RowStatistics,
    rows: Tensor,
    *,
    teacher_weight: float,
    beta: float,
    temperature: float,
    first_word: int,
) -> tuple[Tensor, Tensor]:
    """As :func:`sekd_plugin.kernels.passes.hard_sums`."""
    student, teacher, targets = _dense(student), _dense(teacher), targets.contiguous()
    vocabulary, num_hard = student.shape[1], rows.numel()
    found = statistics.student_sum.new_empty(2, num_hard)
    tile, warps = tiling(vocabulary)
    if num_hard > 0:
        with _device_of(student):
            hard_sums_kernel[(num_hard,)](
                student,
                teacher,
                targets,
                statistics.student_max,
                statistics.student_sum,
                statistics.teacher_max,
                statistics.teacher_sum,
                statistics.gold_target,
                rows.contiguous(),
                found,
                num_hard,
                vocabulary,
                student.stride(0),
                teacher.stride(0),
                first_word,
                1.0 / temperature,
                teacher_weight,
                beta,
                1.0 - beta,
                _bound(beta),
                SOFTENED=temperature != 1.0,
                DTYPE=_TRITON_DTYPES[found.dtype],
                TILE=tile,
                num_warps=warps,
            )
    return found[0], found[1]


def gradient(
    student: Tensor,
    teacher: Tensor,
    targets: Tensor,
    statistics: RowStatistics,
    hard: Tensor,
    mean: Tensor,
    *,
    teacher_weight: float,
    beta: float,
    temperature: float,
    first_word: int,
    slope: float,
    hard_scale: float,
    out: Tensor,
) -> None:
    """As :func:`sekd_plugin.kernels.passes.gradient`; every element is written once."""
    written = _dense(out)
    student, teacher, targets = _dense(student), _dense(teacher), targets.contiguous()
    num_rows, vocabulary = student.shape
    tile, warps = tiling(vocabulary)
    if num_rows > 0:
        with _device_of(student):
            gradient_kernel[(num_rows,)](
                student,
                teacher,
                targets,
                statistics.student_max,
                statistics.student_sum,
                statistics.teacher_max,
                statistics.teacher_sum,
                statistics.gold_target,
                hard.contiguous(),
                mean.contiguous(),
                written,
                num_rows,
                vocabulary,
                student.stride(0),
                teacher.stride(0),
                written.stride(0),
                first_word,
                1.0 / temperature,
                teacher_weight,
                beta,
                1.0 - beta,
                _bound(beta),
                slope,
                hard_scale * slope,
                SOFTENED=temperature != 1.0,
                BLENDED=beta < 1.0,
                DTYPE=_TRITON_DTYPES[statistics.student_sum.dtype],
                TILE=tile,
                num_warps=warps,
            )
    if written is not out:
        out.copy_(written)


@triton.jit
def statistics_kernel(
    student: tl.tensor,
    teacher: tl.tensor,
    targets: tl.tensor,
    found: tl.tensor,
    agreement: tl.tensor,
    num_rows: tl.tensor,
    vocabulary: tl.tensor,
    student_stride: tl.tensor,
    teacher_stride: tl.tensor,
    first_word: tl.tensor,
    inverse_temperature: tl.float64,
    SOFTENED: tl.constexpr,  # noqa: N803
    DTYPE: tl.constexpr,  # noqa: N803
    TILE: tl.constexpr,  # noqa: N803
) -> None:
    """One row's contributions: ``found [9, n]`` in the order of the fields."""
    row = tl.program_id(0).to(tl.int64)
    student += row * student_stride
    teacher += row * teacher_stride
    gold = _place_of(targets, row, first_word, vocabulary)
    slope = tl.full((), inverse_temperature, DTYPE)

    max_z = tl.full((), -float("inf"), DTYPE)
    max_t = tl.full((), -float("inf"), DTYPE)
    sum_z = tl.zeros((TILE,), DTYPE)
    unsoftened = tl.zeros((TILE,), DTYPE)
    others = tl.zeros((TILE,), DTYPE)
    cross = tl.zeros((TILE,), DTYPE)
    agree = tl.full((), 0, tl.int32)
    for start in range(0, vocabulary, TILE):
        words = start + tl.arange(0, TILE)
        z = tl.load(student + words, mask=words < vocabulary, other=-float("inf")).to(DTYPE)
        t = tl.load(teacher + words, mask=words < vocabulary, other=-float("inf")).to(DTYPE)
        top_z, top_t = tl.max(z, 0), tl.max(t, 0)
        new_z, new_t = tl.maximum(max_z, top_z), tl.maximum(max_t, top_t)
        agree = tl.where((new_z == max_z) & (new_t == max_t), agree, 0)
        if (new_z == top_z) & (new_t == top_t):
            both = (z == new_z) & (t == new_t)
            agree = tl.maximum(agree, tl.max(both.to(tl.int32), 0))

        # Without a possible word yet, there is no maximum to subtract, and nothing to rescale.
        base_z = tl.where(new_z == -float("inf"), 0.0, new_z)
        base_t = tl.where(new_t == -float("inf"), 0.0, new_t)
        step_z, step_t = max_z - base_z, max_t - base_t
        moved_z = tl.where(max_z == -float("inf"), 0.0, step_z)
        moved_t = tl.where(max_t == -float("inf"), 0.0, step_t)
        z_shifted, t_shifted = z - base_z, t - base_t
        if SOFTENED:
            unsoftened = unsoftened * tl.exp(step_z) + tl.exp(z_shifted)
            step_z, step_t, moved = step_z * slope, step_t * slope, (moved_t - moved_z) * slope
            z_shifted, t_shifted = z_shifted * slope, t_shifted * slope
        else:
            moved = moved_t - moved_z
        mass = tl.where(words == gold, 0.0, tl.exp(t_shifted))
        product = tl.where(mass > 0.0, mass * (t_shifted - z_shifted), 0.0)
        shrunk = tl.exp(step_t)
        cross = (cross + others * moved) * shrunk + product
        others = others * shrunk + mass
        sum_z = sum_z * tl.exp(step_z) + tl.exp(z_shifted)
        max_z, max_t = new_z, new_t

    total_cross = tl.sum(cross, 0)
    impossible_max = tl.full((), -float("inf"), DTYPE)
    if not (tl.abs(total_cross) < float("inf")):
        # Words that the student holds impossible had some of the teacher's mass, at least until a
        # greater t came: once more, without them, now that the maxima are known.
        base_z = tl.where(max_z == -float("inf"), 0.0, max_z)
        base_t = tl.where(max_t == -float("inf"), 0.0, max_t)
        impossible = tl.full((TILE,), -float("inf"), DTYPE)
        cross = tl.zeros((TILE,), DTYPE)
        for start in range(0, vocabulary, TILE):
            words = start + tl.arange(0, TILE)
            z = tl.load(student + words, mask=words < vocabulary, other=-float("inf")).to(DTYPE)
            t = tl.load(teacher + words, mask=words < vocabulary, other=-float("inf")).to(DTYPE)
            t_shifted, z_shifted = t - base_t, z - base_z
            if SOFTENED:
                t_shifted, z_shifted = t_shifted * slope, z_shifted * slope
            mass = tl.where(words == gold, 0.0, tl.exp(t_shifted))
            banned = (z == -float("inf")) & (words != gold)
            impossible = tl.maximum(impossible, tl.where(banned, t, -float("inf")))
            counted = (mass > 0.0) & (z > -float("inf"))
            cross += tl.where(counted, mass * (t_shifted - z_shifted), 0.0)
        total_cross = tl.sum(cross, 0)
        impossible_max = tl.max(impossible, 0)

    found += row
    total = tl.sum(sum_z, 0)
    tl.store(found, max_z)
    tl.store(found + num_rows, max_t)
    tl.store(found + 2 * num_rows, impossible_max)
    tl.store(found + 3 * num_rows, total)
    if SOFTENED:
        tl.store(found + 4 * num_rows, tl.sum(unsoftened, 0))
    else:
        tl.store(found + 4 * num_rows, total)
    tl.store(found + 5 * num_rows, tl.sum(others, 0))
    tl.store(found + 6 * num_rows, total_cross)
    here = gold >= 0
    tl.store(found + 7 * num_rows, tl.load(student + gold, mask=here, other=0.0).to(DTYPE))
    tl.store(found + 8 * num_rows, tl.load(teacher + gold, mask=here, other=0.0).to(DTYPE))
    tl.store(agreement + row, agree > 0)


@triton.jit
def finish_kernel(
    student_max: tl.tensor,
    teacher_max: tl.tensor,
    impossible_max: tl.tensor,
    student_sum: tl.tensor,
    unsoftened_sum: tl.tensor,
    teacher_others: tl.tensor,
    cross: tl.tensor,
    gold_student: tl.tensor,
    gold_teacher: tl.tensor,
    found: tl.tensor,
    num_rows: tl.tensor,
    inverse_temperature: tl.float64,
    teacher_weight: tl.float64,
    own_weight: tl.float64,
    log_teacher_weight: tl.float64,
    TILE: tl.constexpr,  # noqa: N803
) -> None:
    """Some rows' ``found [4, n]``: the teacher's sum, the gold word's ỹ, d and −log q at T = 1."""
    rows = tl.program_id(0) * TILE + tl.arange(0, TILE)
    mask = rows < num_rows
    max_z = tl.load(student_max + rows, mask=mask, other=0.0)
    max_t = tl.load(teacher_max + rows, mask=mask, other=0.0)
    impossible = tl.load(impossible_max + rows, mask=mask, other=0.0)
    sum_z = tl.load(student_sum + rows, mask=mask, other=1.0).to(tl.float64)
    unsoftened = tl.load(unsoftened_sum + rows, mask=mask, other=1.0).to(tl.float64)
    others = tl.load(teacher_others + rows, mask=mask, other=1.0).to(tl.float64)
    product = tl.load(cross + rows, mask=mask, other=0.0).to(tl.float64)
    gold_z = tl.load(gold_student + rows, mask=mask, other=0.0)
    gold_t = tl.load(gold_teacher + rows, mask=mask, other=0.0)

    gold_z = (gold_z - max_z).to(tl.float64)
    gold_t = (gold_t - max_t).to(tl.float64) * inverse_temperature
    sum_t = others + tl.exp(gold_t)
    gold_target = teacher_weight * (tl.exp(gold_t) / sum_t) + own_weight
    log_sum_z = tl.log(sum_z)
    at_gold = gold_target * (tl.log(gold_target) - (gold_z * inverse_temperature - log_sum_z))
    rest = log_sum_z - tl.log(sum_t) + log_teacher_weight
    spread = teacher_weight * ((product + others * rest) / sum_t)
    difficulty = tl.where(gold_target == 0.0, 0.0, at_gold) + spread
    below = (impossible - max_t) * tl.full((), inverse_temperature, max_t.dtype)
    infinite = (tl.exp(below) > 0.0) & (teacher_weight > 0.0)
    difficulty = tl.where(infinite, float("inf"), difficulty)
    # Written so that NaN counts as broken.
    difficulty = tl.where((sum_z > 0.0) & (sum_t > 0.0), difficulty, float("nan"))

    tl.store(found + rows, sum_t, mask=mask)
    tl.store(found + num_rows + rows, gold_target, mask=mask)
    tl.store(found + 2 * num_rows + rows, difficulty, mask=mask)
    tl.store(found + 3 * num_rows + rows, tl.log(unsoftened) - gold_z, mask=mask)


@triton.jit
def hard_sums_kernel(
    student: tl.tensor,
    teacher: tl.tensor,
    targets: tl.tensor,
    student_max: tl.tensor,
    student_sum: tl.tensor,
    teacher_max: tl.tensor,
    teacher_sum: tl.tensor,
    gold_target: tl.tensor,
    rows: tl.tensor,
    found: tl.tensor,
    num_hard: tl.tensor,
    vocabulary: tl.tensor,
    student_stride: tl.tensor,
    teacher_stride: tl.tensor,
    first_word: tl.tensor,
    inverse_temperature: tl.float64,
    teacher_weight: tl.float64,
    beta: tl.float64,
    own_share: tl.float64,
    bound: tl.float64,
    SOFTENED: tl.constexpr,  # noqa: N803
    DTYPE: tl.constexpr,  # noqa: N803
    TILE: tl.constexpr,  # noqa: N803
) -> None:
    """One hard row's Σ ỹ·log r and Σ q·r: ``found [2, h]``."""
    place = num_hard - 1 - tl.program_id(0)
    row = tl.load(rows + place).to(tl.int64)
    student += row * student_stride
    teacher += row * teacher_stride
    gold = _place_of(targets, row, first_word, vocabulary)
    max_z, max_t = tl.load(student_max + row), tl.load(teacher_max + row)
    share_z = 1.0 / tl.load(student_sum + row)
    share_t = tl.full((), teacher_weight, DTYPE) / tl.load(teacher_sum + row)
    at_gold = tl.load(gold_target + row)
    slope = tl.full((), inverse_temperature, DTYPE)
    share, rest = tl.full((), beta, DTYPE), tl.full((), own_share, DTYPE)
    most = tl.full((), bound, DTYPE)

    loss = tl.zeros((TILE,), DTYPE)
    mean = tl.zeros((TILE,), DTYPE)
    for start in range(0, vocabulary, TILE):
        words = start + tl.arange(0, TILE)
        z = tl.load(student + words, mask=words < vocabulary, other=-float("inf")).to(DTYPE)
        t = tl.load(teacher + words, mask=words < vocabulary, other=-float("inf")).to(DTYPE)
        q = _softmax(z, max_z, share_z, slope, SOFTENED)
        target = tl.where(words == gold, at_gold, _softmax(t, max_t, share_t, slope, SOFTENED))
        ratio = _ratio(q, target, share, rest, most)
        loss += tl.where(target > 0.0, target * tl.log(ratio), 0.0)
        mean += tl.where(q > 0.0, q * ratio, 0.0)
    tl.store(found + place, tl.sum(loss, 0))
    tl.store(found + num_hard + place, tl.sum(mean, 0))


@triton.jit
def gradient_kernel(
    student: tl.tensor,
    teacher: tl.tensor,
    targets: tl.tensor,
    student_max: tl.tensor,
    student_sum: tl.tensor,
    teacher_max: tl.tensor,
    teacher_sum: tl.tensor,
    gold_target: tl.tensor,
    hard: tl.tensor,
    mean: tl.tensor,
    out: tl.tensor,
    num_rows: tl.tensor,
    vocabulary: tl.tensor,
    student_stride: tl.tensor,
    teacher_stride: tl.tensor,
    out_stride: tl.tensor,
    first_word: tl.tensor,
    inverse_temperature: tl.float64,
    teacher_weight: tl.float64,
    beta: tl.float64,
    own_share: tl.float64,
    bound: tl.float64,
    easy_slope: tl.float64,
    hard_slope: tl.float64,
    SOFTENED: tl.constexpr,  # noqa: N803
    BLENDED: tl.constexpr,  # noqa: N803
    DTYPE: tl.constexpr,  # noqa: N803
    TILE: tl.constexpr,  # noqa: N803
) -> None:
    """One row's gradient; hard rows are as easy ones unless BLENDED, but for their slope."""
    row = (num_rows - 1 - tl.program_id(0)).to(tl.int64)
    student += row * student_stride
    teacher += row * teacher_stride
    out += row * out_stride
    gold = _place_of(targets, row, first_word, vocabulary)
    max_z, max_t = tl.load(student_max + row), tl.load(teacher_max + row)
    share_z = 1.0 / tl.load(student_sum + row)
    share_t = tl.full((), teacher_weight, DTYPE) / tl.load(teacher_sum + row)
    at_gold = tl.load(gold_target + row)
    slope = tl.full((), inverse_temperature, DTYPE)
    share, rest = tl.full((), beta, DTYPE), tl.full((), own_share, DTYPE)
    most = tl.full((), bound, DTYPE)
    is_hard = tl.load(hard + row) != 0
    middle = tl.load(mean + row)
    scale = tl.where(is_hard, tl.full((), hard_slope, DTYPE), tl.full((), easy_slope, DTYPE))

    for start in range(0, vocabulary, TILE):
        words = start + tl.arange(0, TILE)
        mask = words < vocabulary
        z = tl.load(
            student + words, mask=mask, other=-float("inf"), eviction_policy="evict_first"
        ).to(DTYPE)
        t = tl.load(
            teacher + words, mask=mask, other=-float("inf"), eviction_policy="evict_first"
        ).to(DTYPE)
        q = _softmax(z, max_z, share_z, slope, SOFTENED)
        target = tl.where(words == gold, at_gold, _softmax(t, max_t, share_t, slope, SOFTENED))
        found = q - target
        if BLENDED:  # noqa: SIM102
            if is_hard:
                ratio = _ratio(q, target, share, rest, most)
                found = (ratio - middle) * q * -share
        tl.store(out + words, (found * scale).to(out.dtype.element_ty), mask=mask)


@triton.jit
def _place_of(
    targets: tl.tensor, row: tl.tensor, first_word: tl.tensor, vocabulary: tl.tensor
) -> tl.tensor:
    """The gold word's column, or −1 where another shard has it."""
    place = tl.load(targets + row) - first_word
    return tl.where((place >= 0) & (place < vocabulary), place, -1)


@triton.jit
def _softmax(
    logits: tl.tensor,
    greatest: tl.tensor,
    share: tl.tensor,
    slope: tl.tensor,
    SOFTENED: tl.constexpr,  # noqa: N803
) -> tl.tensor:
    """e^{(z − m) / T}·share."""
    shifted = logits - greatest
    if SOFTENED:
        shifted = shifted * slope
    return tl.exp(shifted) * share


@triton.jit
def _ratio(
    student: tl.tensor, target: tl.tensor, beta: tl.tensor, own_share: tl.tensor, bound: tl.tensor
) -> tl.tensor:
    """r = ỹ / q̂, at most 1 / (1 − β), and 0 where ỹ is."""
    proxy = beta * student + own_share * target
    return tl.where(target > 0.0, tl.minimum(target / proxy, bound), 0.0)


_TRITON_DTYPES = {torch.float32: tl.float32, torch.float64: tl.float64}


def _bound(beta: float) -> float:
    return 1.0 / (1.0 - beta) if beta < 1.0 else math.inf


def _dense(rows: Tensor) -> Tensor:
    """Rows whose words lie side by side."""
    return rows if rows.shape[1] <= 1 or rows.stride(1) == 1 else rows.contiguous()


def _device_of(tensor: Tensor) -> AbstractContextManager[object]:
    """Launch where the tensor is; the interpreter takes tensors on a CPU."""
    return torch.cuda.device(tensor.device) if tensor.is_cuda else nullcontext()
