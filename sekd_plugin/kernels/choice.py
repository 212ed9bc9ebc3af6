"""Which kernel computes a criterion's rows."""

from __future__ import annotations

from typing import Protocol

import torch

from sekd_plugin.divergences import Divergence, ForwardKL
from sekd_plugin.kernels.forward_kl import ForwardKLRows, Settings
from sekd_plugin.kernels.gathered import Division, GatheredRows
from sekd_plugin.kernels.row_kernel import DefinitionRows, RowKernel
from sekd_plugin.proxies import LinearProxy, Proxy


class Parts(Settings, Protocol):
    """What the choice hangs on."""

    divergence: Divergence
    difficulty: Divergence
    proxy: Proxy


def choose_kernel(method: Parts, device: torch.device, division: Division | None) -> RowKernel:
    """The fastest kernel for the method with these parts.

    Args:
        method: the criterion.
        device: where the rows are.
        division: how their words are divided among ranks, if they are.
    """
    kernel: RowKernel
    if {type(method.divergence), type(method.difficulty)} == {ForwardKL}:
        kernel = ForwardKLRows(
            method,
            linear=type(method.proxy) is LinearProxy,
            hard_scale=method.proxy.scale(method.beta),
        )
    else:
        kernel = DefinitionRows(method)
    return kernel if division is None else GatheredRows(kernel, division)
