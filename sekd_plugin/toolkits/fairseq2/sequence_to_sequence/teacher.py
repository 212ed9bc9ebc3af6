"""An encoder–decoder teacher in memory, run on each batch."""

from __future__ import annotations

import torch
from fairseq2.models.seq2seq import Seq2SeqModel
from fairseq2.models.transformer import TransformerModel

from sekd_plugin.toolkits.fairseq2.projection import in_autocast
from sekd_plugin.toolkits.fairseq2.sequence_to_sequence.student import (
    Inputs,
    encoder_decoder_output,
)
from sekd_plugin.toolkits.fairseq2.teacher import TeacherOutput


@torch.no_grad()
def run_teacher(model: Seq2SeqModel, inputs: Inputs) -> TeacherOutput:
    """What a frozen teacher has to say on a batch.

    Args:
        model: the teacher.
        inputs: what it reads, with target ids ``[B, T]``.

    Returns:
        the decoder's output ``[B, T, D]`` and its projection; of a model that is no Transformer,
        its logits ``[B, T, V']``.
    """
    if isinstance(model, TransformerModel):
        return TeacherOutput(in_autocast(encoder_decoder_output(model, inputs)), model.final_proj)
    return TeacherOutput(model(*inputs), None)
