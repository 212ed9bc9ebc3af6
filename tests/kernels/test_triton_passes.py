"""The Triton kernels, against the definition and against the passes written with torch.

They run on a GPU where there is one. Elsewhere test_triton_in_the_interpreter.py runs this file in
a process of its own, because Triton must be told before it is imported.
"""

import os

import pytest
import torch
from forward_kl_rows import straining_rows
from streamed_rows import (
    EVERY_WEIGHT_AND_SHARE,
    all_of_them,
    defined,
    every_second,
    streamed,
    the_others,
)
from streamed_rows import expect_equal as expect_equal_within

from sekd_plugin.kernels import passes

pytest.importorskip("triton")

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

if DEVICE == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("no GPU; test_triton_in_the_interpreter.py runs this file", allow_module_level=True)

INTERPRETED_BF16 = {torch.bfloat16: (8e-3, 2e-6)}
"""The interpreter cuts digits off where a GPU rounds."""

HALF = {"teacher_weight": 0.5, "beta": 0.5}


@pytest.fixture(scope="module")
def kernels():
    from triton.runtime import interpreter

    from sekd_plugin.kernels import triton_passes

    with pytest.MonkeyPatch.context() as patch:
        prepare = interpreter._patch_lang_tensor

        def prepare_for_numpy_2_4(tensor):
            """An array of one element is no longer an int by itself."""
            prepare(tensor)
            tensor.__index__ = lambda self: int(self.handle.data.item())

        patch.setattr(interpreter, "_patch_lang_tensor", prepare_for_numpy_2_4)
        yield triton_passes


def expect_equal(found, expected):
    expect_equal_within(found, expected, INTERPRETED_BF16 if DEVICE == "cpu" else {})


def rows_of(words, dtype=torch.float32):
    return [each.to(DEVICE) for each in straining_rows(words, dtype)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("words", [1, 2, 33])
def test_straining_rows_come_out_as_defined(kernels, words, dtype):
    rows = rows_of(words, dtype)
    expect_equal(streamed(kernels, *rows, HALF), defined(*rows, HALF))


@pytest.mark.parametrize("settings", EVERY_WEIGHT_AND_SHARE)
def test_with_every_teacher_weight_and_beta(kernels, settings):
    rows = rows_of(7)
    found = streamed(kernels, *rows, settings, decide=all_of_them)
    expect_equal(found, defined(*rows, settings, all_of_them))


@pytest.mark.parametrize("temperature", [0.5, 3.0])
def test_both_are_softened(kernels, temperature):
    rows, settings = rows_of(33), {**HALF, "temperature": temperature}
    expect_equal(streamed(kernels, *rows, settings), defined(*rows, settings))


@pytest.mark.parametrize(
    ("words", "temperature", "decide"),
    [
        (1023, 1.0, every_second),
        (1024, 1.0, the_others),
        (1025, 1.0, every_second),
        (2500, 1.0, the_others),
        (2500, 2.0, every_second),
    ],
)
def test_rows_of_several_tiles(kernels, words, temperature, decide):
    rows, settings = rows_of(words), {**HALF, "temperature": temperature}
    found = streamed(kernels, *rows, settings, decide=decide)
    expect_equal(found, defined(*rows, settings, decide))


def test_a_large_vocabulary_loses_no_digits(kernels):
    rows = [each[:3] for each in rows_of(32_003, torch.bfloat16)]
    found = streamed(kernels, *rows, HALF)
    expect_equal(found, defined(*rows, HALF))
    assert (found["difficulty"] >= -1e-6).all()


def test_maxima_that_rise_from_tile_to_tile(kernels):
    rise = torch.arange(4000.0)[None] / 50.0
    student, teacher, targets = rise, rise.flip(-1), torch.tensor([2000])
    rows = [each.to(DEVICE) for each in (student, teacher, targets)]
    for turned in (rows, [rows[1], rows[0], rows[2]]):
        found = streamed(kernels, *turned, HALF, decide=the_others)
        expect_equal(found, defined(*turned, HALF, the_others))


def test_both_ways_of_writing_the_passes_give_the_same_statistics(kernels):
    student, teacher, targets = rows_of(2500)
    some = {"temperature": 1.0, "first_word": 0}
    expected = vars(passes.statistics(student, teacher, targets, **some))
    found = vars(kernels.statistics(student, teacher, targets, **some))
    # Which impossible words are worth a mention depends on the order in which they are seen.
    for name in set(expected) - {"temperature", "impossible_max"}:
        torch.testing.assert_close(found[name], expected[name], rtol=2e-6, atol=2e-6)


def test_only_words_with_some_mass_make_a_row_be_read_again(kernels):
    student, teacher = torch.randn(2, 2500), torch.randn(2, 2500)
    student[:, 2000] = -float("inf")
    teacher[0, 2000] = -1e4
    rows = [each.to(DEVICE) for each in (student, teacher, torch.tensor([7, 7]))]
    found = kernels.statistics(*rows, temperature=1.0, first_word=0).impossible_max
    assert found.tolist() == [-float("inf"), rows[1][1, 2000].item()]


def test_float64_is_kept(kernels):
    rows = rows_of(33, torch.float64)
    expect_equal(streamed(kernels, *rows, HALF), defined(*rows, HALF))


def test_the_gradient_may_be_written_over_the_student(kernels):
    rows = rows_of(1500, torch.bfloat16)
    expected = defined(*rows, HALF)
    expect_equal(streamed(kernels, *rows, HALF, out=rows[0]), expected)


def test_the_gradient_may_be_of_another_dtype(kernels):
    rows = rows_of(33, torch.float16)
    out = torch.empty(rows[0].shape, dtype=torch.float32, device=DEVICE)
    found = streamed(kernels, *rows, HALF, out=out)
    assert found["gradient"].dtype == torch.float32
    expect_equal(found, defined(*rows, HALF))


def test_rows_may_be_part_of_wider_ones(kernels):
    rows = rows_of(33)
    expected = defined(*rows, HALF)
    wide = torch.nn.functional.pad(rows[1], (0, 7), value=9.0)
    out = torch.full((len(rows[2]), 40), 5.0, device=DEVICE)
    found = streamed(kernels, rows[0], wide[:, :33], rows[2], HALF, out=out[:, :33])
    expect_equal(found, expected)
    assert (out[:, 33:] == 5.0).all()


def test_words_need_not_lie_side_by_side(kernels):
    rows = rows_of(33)
    expected = defined(*rows, HALF)
    across = [each.t().contiguous().t() for each in rows[:2]]
    out = torch.empty_like(across[0])
    assert out.stride(1) != 1
    expect_equal(streamed(kernels, *across, rows[2], HALF, out=out), expected)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("whose", [0, 1])
@pytest.mark.parametrize("word", [0, 4])
def test_a_row_that_is_not_finite_has_no_difficulty(kernels, value, whose, word):
    rows = [torch.randn(3, 5, device=DEVICE), torch.randn(3, 5, device=DEVICE)]
    rows[whose][1, word] = value
    targets = torch.tensor([4, 4, 4], device=DEVICE)
    found = streamed(kernels, *rows, targets, HALF)["difficulty"]
    assert found.isnan().tolist() == [False, True, False]


@pytest.mark.parametrize("whose", [0, 1])
def test_nor_has_a_row_without_a_possible_word(kernels, whose):
    rows = [torch.randn(3, 5, device=DEVICE), torch.randn(3, 5, device=DEVICE)]
    rows[whose][1] = -float("inf")
    targets = torch.tensor([4, 4, 4], device=DEVICE)
    found = streamed(kernels, *rows, targets, HALF)["difficulty"]
    assert found.isnan().tolist() == [False, True, False]


def test_a_batch_may_have_no_rows(kernels):
    rows = [torch.empty(0, 5), torch.empty(0, 5), torch.empty(0, dtype=torch.int64)]
    found = streamed(kernels, *(each.to(DEVICE) for each in rows), HALF)
    assert found["token_loss"].shape == (0,)


@pytest.mark.parametrize("places", [(10,), (1100, 1500)])
def test_shards_have_what_the_passes_written_with_torch_have(kernels, places):
    from shards_at_hand import streamed_in_shards

    rows = rows_of(2048)
    expect_equal(streamed_in_shards(kernels, *rows, HALF, places), defined(*rows, HALF))
