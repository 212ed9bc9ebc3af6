"""The student: a fairseq2 encoder–decoder model whose forward can end in a loss."""

from __future__ import annotations

from typing import Any

from fairseq2.datasets import Seq2SeqBatch
from fairseq2.models.transformer import TransformerModel
from fairseq2.nn import BatchLayout
from torch import Tensor
from torch.nn import Module

from sekd_plugin.errors import ConfigError
from sekd_plugin.toolkits.fairseq2.student import LossOfStates

Inputs = tuple[Tensor, BatchLayout, Tensor, BatchLayout]
"""What a model reads: source ids ``[B, S]`` and target ids ``[B, T]``, each with the lengths."""


class EncoderDecoderStudent(TransformerModel):  # type: ignore[misc]  # final to type checkers only
    """A :class:`TransformerModel` that runs a loss on its decoder's output, inside its forward."""

    def forward(
        self,
        source_seqs: Tensor,
        source_seqs_layout: BatchLayout,
        target_seqs: Tensor,
        target_seqs_layout: BatchLayout,
        *arguments: Any,
        loss_of_states: LossOfStates | None = None,
        **options: Any,
    ) -> Any:
        """Return ``loss_of_states(decoder_output, final_proj)``, or what the parent returns."""
        inputs = (source_seqs, source_seqs_layout, target_seqs, target_seqs_layout)
        if loss_of_states is None:
            return super().forward(*inputs, *arguments, **options)
        return loss_of_states(encoder_decoder_output(self, inputs), self.final_proj)


def make_encoder_decoder_student(model: Module) -> None:
    """Turn a model into a student, in place; its parameters and their names stay.

    Raises:
        ConfigError: the model is not an encoder–decoder Transformer of fairseq2.
    """
    if type(model) is not TransformerModel:
        raise ConfigError(
            "model.family",
            f"gives a {type(model).__name__}, which is no encoder–decoder model; nllb gives one",
        )
    model.__class__ = EncoderDecoderStudent


def model_inputs(batch: Seq2SeqBatch) -> Inputs:
    """What a model reads of a batch that :meth:`Seq2SeqBatch.as_auto_regressive` has trimmed."""
    return (*batch.as_source_input(), *batch.as_target_input())


def encoder_decoder_output(model: TransformerModel, inputs: Inputs) -> Tensor:
    """What the output projection is applied to: ``[B, T, D]``."""
    source_seqs, source_layout, target_seqs, target_layout = inputs
    embedded, source_layout = model.encoder_frontend(source_seqs, source_layout)
    read = model.encoder(embedded, source_layout)
    embedded, target_layout = model.decoder_frontend(target_seqs, target_layout, state_bag=None)
    states: Tensor = model.decoder(embedded, target_layout, read, source_layout, state_bag=None)
    return states
