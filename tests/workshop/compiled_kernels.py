"""The Triton kernels compiled for an H100 without one, and the resources that they take."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from sekd_plugin.kernels import triton_passes

KERNELS = {
    name: getattr(triton_passes, f"{name}_kernel")
    for name in ("statistics", "finish", "hard_sums", "gradient")
}
H100 = GPUTarget("cuda", 90, 32)

_LOGITS = ("student", "teacher", "out")
_WHOLE_NUMBERS = ("targets", "rows")
_FLAGS = ("agreement", "hard")
_SIZES = ("num_rows", "num_hard", "vocabulary", "first_word")


@dataclass(frozen=True)
class Resources:
    registers: int
    """A thread's."""

    spilled: int
    """Bytes of a thread's registers that went to memory."""

    shared: int
    """Bytes of a program's."""


def resources(name, logits, vocabulary, *, softened, folder):
    """What a kernel takes on an H100 with logits of this dtype ("bf16"), sizes divisible by 16.

    ``folder`` is for the compiled code.
    """
    kernel = KERNELS[name]
    tile, warps = triton_passes.tiling(vocabulary)
    settings = {"SOFTENED": softened, "BLENDED": True, "DTYPE": tl.float32, "TILE": tile}
    if name == "finish":
        settings["TILE"], warps = 256, 4
    signature = {each.name: _type_of(each, logits) for each in kernel.params}
    source = ASTSource(
        kernel,
        signature,
        {key: value for key, value in settings.items() if key in signature},
        {
            (place,): [["tt.divisibility", 16]]
            for place, (key, kind) in enumerate(signature.items())
            if kind.startswith("*") or key == "vocabulary" or key.endswith("_stride")
        },
    )
    compiled = triton.compile(source, target=H100, options={"num_warps": warps})
    code = folder / f"{name}.cubin"
    code.write_bytes(compiled.asm["cubin"])
    report = subprocess.run(
        [triton.knobs.nvidia.cuobjdump.path, "-res-usage", code],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    found = {key: int(value) for key, value in re.findall(r"(REG|STACK|LOCAL):(\d+)", report)}
    return Resources(
        registers=found["REG"],
        spilled=found["STACK"] + found["LOCAL"],
        shared=compiled.metadata.shared,
    )


def _type_of(parameter, logits):
    if parameter.is_constexpr:
        return "constexpr"
    if parameter.annotation_type:
        return parameter.annotation_type
    if parameter.name in _LOGITS:
        return f"*{logits}"
    if parameter.name in _WHOLE_NUMBERS:
        return "*i64"
    if parameter.name in _FLAGS:
        return "*i1"
    if parameter.name in _SIZES or parameter.name.endswith("_stride"):
        return "i32"
    return "*fp32"
