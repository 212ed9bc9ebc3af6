"""Gradients that are narrowed for a product in half precision."""

import pytest
import torch

from sekd_plugin.kernels.gradients import narrowed


@pytest.mark.parametrize("size", [1e-9, 1.0, 3e4])
def test_fp16_has_room_for_gradients_of_any_size(size):
    slope = torch.linspace(-1.0, 1.0, 9).reshape(3, 3) * size
    narrow, scale = narrowed(slope, torch.float16)
    assert narrow.dtype == torch.float16 and narrow.isfinite().all()
    torch.testing.assert_close(narrow.float() * scale, slope, rtol=1e-3, atol=1e-3 * size)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_other_dtypes_have_it_already(dtype):
    narrow, scale = narrowed(torch.full((2, 2), 1e-9), dtype)
    assert scale == 1.0 and narrow.dtype == dtype and (narrow > 0).all()


@pytest.mark.parametrize(
    "slope", [torch.zeros(2, 2), torch.zeros(0, 2), torch.full((1, 1), torch.inf)]
)
def test_nothing_and_infinity_are_left_as_they_are(slope):
    narrow, scale = narrowed(slope, torch.float16)
    assert scale == 1.0 and torch.equal(narrow.float(), slope)
