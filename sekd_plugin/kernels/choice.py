"""Which kernel computes a criterion's rows."""

from __future__ import annotations

import importlib
import importlib.util
import os
from typing import Protocol, cast

import torch

from sekd_plugin.divergences import ForwardKL
from sekd_plugin.errors import ConfigError
from sekd_plugin.kernels import passes as torch_passes
from sekd_plugin.kernels.analytic import AnalyticMethod, AnalyticRows
from sekd_plugin.kernels.division import Division
from sekd_plugin.kernels.forward_kl import ForwardKLRows, Settings
from sekd_plugin.kernels.gathered import on_whole_rows
from sekd_plugin.kernels.passes import Passes
from sekd_plugin.kernels.row_kernel import DefinitionRows, RowKernel
from sekd_plugin.kernels.streamed import StreamedRows
from sekd_plugin.proxies import LinearProxy


class Parts(AnalyticMethod, Settings, Protocol):
    """What the choice hangs on."""

    @property
    def kernel(self) -> str:
        """``auto``, ``chunked`` or ``triton``."""
        ...


def choose_kernel(method: Parts, device: torch.device, division: Division | None) -> RowKernel:
    """The fastest kernel for the method with these parts.

    Args:
        method: the criterion.
        device: where the rows are.
        division: how their words are divided among ranks, if they are.

    Raises:
        ConfigError: ``triton`` is asked for, where it cannot be had.
    """
    own_kernels = is_streamable(method)
    if method.kernel == "triton":
        _check_triton(own_kernels, device)
    use_triton = own_kernels and (
        method.kernel == "triton" or (method.kernel == "auto" and _has_triton(device))
    )
    if use_triton or (own_kernels and division is not None):
        return StreamedRows(
            method,
            _triton_passes() if use_triton else cast(Passes, torch_passes),
            hard_scale=method.proxy.scale(method.beta),
            division=division,
        )
    return on_whole_rows(_in_chunks(method), division)


def is_streamable(method: Parts) -> bool:
    """Whether there are streamed kernels for the method: forward KL with the linear proxy."""
    return _is_forward_kl(method) and type(method.proxy) is LinearProxy


def _in_chunks(method: Parts) -> RowKernel:
    analytic = AnalyticRows.supports(method)
    if not _is_forward_kl(method):
        return AnalyticRows(method) if analytic else DefinitionRows(method)
    if type(method.proxy) is LinearProxy:
        return ForwardKLRows(method, hard_scale=method.proxy.scale(method.beta))
    return ForwardKLRows(
        method, hard_rows=AnalyticRows(method) if analytic else DefinitionRows(method)
    )


def _is_forward_kl(method: Parts) -> bool:
    return {type(method.divergence), type(method.difficulty)} == {ForwardKL}


def _has_triton(device: torch.device) -> bool:
    return device.type == "cuda" and importlib.util.find_spec("triton") is not None


def _triton_passes() -> Passes:
    # Not at the top: Triton is heavy, and may not be installed.
    return cast(Passes, importlib.import_module("sekd_plugin.kernels.triton_passes"))


def _check_triton(own_kernels: bool, device: torch.device) -> None:
    if not own_kernels:
        raise ConfigError(
            "kernel",
            "'triton' has kernels for forward_kl as divergence and difficulty with the linear "
            "proxy alone; use 'auto'",
        )
    if importlib.util.find_spec("triton") is None:
        raise ConfigError("kernel", "'triton' is not installed here; use 'auto'")
    if device.type != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
        raise ConfigError("kernel", f"'triton' needs a GPU, and the rows are on {device}")
