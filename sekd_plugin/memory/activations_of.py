"""Which activations a model has, by its shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sekd_plugin.memory.activations import Activations
from sekd_plugin.memory.decoder_activations import DecoderActivations
from sekd_plugin.memory.decoder_shape import DecoderShape
from sekd_plugin.memory.encoder_decoder_activations import EncoderDecoderActivations
from sekd_plugin.memory.encoder_decoder_shape import EncoderDecoderShape
from sekd_plugin.memory.model_shape import ModelShape
from sekd_plugin.memory.numbers import NumberBytes
from sekd_plugin.memory.settings import BatchPlan, Cluster

_KINDS: dict[type[ModelShape], Callable[..., Activations]] = {
    DecoderShape: DecoderActivations,
    EncoderDecoderShape: EncoderDecoderActivations,
}


def activations_of(
    shape: ModelShape, numbers: NumberBytes, batch: BatchPlan, cluster: Cluster
) -> Activations:
    """The activations of a model of that shape."""
    common: dict[str, Any] = {
        "numbers": numbers,
        "batch": batch,
        "tensor_parallel": cluster.tensor_parallel,
        "on_gpu": cluster.on_gpu,
    }
    return _KINDS[type(shape)](shape=shape, **common)
