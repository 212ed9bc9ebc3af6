"""The kernels compile for an H100, as they would be launched, on a machine without one."""

import pytest

pytest.importorskip("triton")

from compiled_kernels import KERNELS, resources


@pytest.mark.parametrize("logits", ["bf16", "fp32"])
@pytest.mark.parametrize("name", sorted(KERNELS))
def test_the_kernels_compile_for_an_h100_without_spills(name, logits, tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "cache"))
    for softened in (False, True):
        taken = resources(name, logits, 32_000, softened=softened, folder=tmp_path)
        assert taken.spilled == 0
        # At most 102: five programs of four warps share a multiprocessor's 65,536 registers.
        assert taken.registers <= 102
        assert taken.shared <= 1024
