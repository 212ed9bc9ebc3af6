"""Random batches and settings of the method, and the criterion and the definition for them."""

from __future__ import annotations

import math

import torch
from hypothesis import strategies as st
from method_definition import DIVERGENCES, PROXIES, method

from sekd_plugin import SelfEvolutionKD
from sekd_plugin.kernels.fused import ChunkBytes

SMALL = ChunkBytes(logits_bytes=4 * 64, cache_bytes=4 * 24)
KERNELS = st.sampled_from(["reference", "chunked"])
EASY = {"name": "fixed", "config": {"gamma": math.inf}}
ALL_HARD = {"name": "top_k", "config": {"ratio": 1.0}}


def fixed(gamma):
    return {"name": "fixed", "config": {"gamma": gamma}}


@st.composite
def batches(draw, max_rows=6, max_words=9, scale=6.0):
    """Logits of student and teacher ``[n, V]``, float64, and gold ids ``[n]``."""
    rows, words = draw(st.integers(1, max_rows)), draw(st.integers(2, max_words))
    torch.manual_seed(draw(st.integers(0, 2**31)))
    size = draw(st.sampled_from([0.1, 1.0, scale]))
    student = torch.randn(rows, words, dtype=torch.float64) * size
    teacher = torch.randn(rows, words, dtype=torch.float64) * size
    return student, teacher, torch.randint(0, words, (rows,))


settings_of_method = st.fixed_dictionaries(
    {
        "teacher_weight": st.sampled_from([0.1, 0.5, 0.9, 1.0]),
        "beta": st.sampled_from([0.0, 0.25, 0.5, 0.9, 1.0]),
        "gamma": st.sampled_from([0.0, 0.1, 0.5, 2.0, math.inf]),
        "temperature": st.sampled_from([0.5, 1.0, 2.0]),
        "divergence": st.sampled_from(sorted(DIVERGENCES)),
        "difficulty": st.sampled_from([None, *sorted(DIVERGENCES)]),
        "proxy": st.sampled_from(sorted(PROXIES)),
    }
)


def build(settings, kernel="chunked", **more):
    chosen = dict(settings)
    gamma = chosen.pop("gamma")
    for key in ("divergence", "difficulty"):
        if chosen[key] is not None:
            chosen[key] = DIVERGENCES[chosen[key]][0]
    criterion = SelfEvolutionKD(threshold=fixed(gamma), **chosen, **more)
    criterion.kernel = kernel
    criterion.chunk_bytes = SMALL
    return criterion


def define(settings, student, teacher, targets):
    chosen = dict(settings)
    chosen["divergence"] = DIVERGENCES[chosen["divergence"]][1]
    if chosen["difficulty"] is not None:
        chosen["difficulty"] = DIVERGENCES[chosen["difficulty"]][1]
    chosen["proxy"] = PROXIES[chosen["proxy"]]
    return method(student, teacher, targets, **chosen)


def loss_and_gradient(criterion, student, teacher, targets, mask=None):
    leaf = student.clone().requires_grad_(True)
    output = criterion(leaf, teacher, targets, mask)
    (gradient,) = torch.autograd.grad(output.loss, leaf)
    return output, gradient
