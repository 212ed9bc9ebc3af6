"""An encoder–decoder teacher in memory, run on each batch."""

from __future__ import annotations

import torch
from fairseq2.models.seq2seq import Seq2SeqModel
from fairseq2.models.transformer import TransformerModel
from fairseq2.nn import BatchLayout
from torch import Tensor

from sekd_plugin.toolkits.fairseq2.projection import in_autocast
from sekd_plugin.toolkits.fairseq2.sequence_to_sequence.student import encoder_decoder_output
from sekd_plugin.toolkits.fairseq2.teacher import TeacherOutput


@torch.no_grad()
def run_teacher(
    model: Seq2SeqModel,
    source_seqs: Tensor,
    source_seqs_layout: BatchLayout,
    target_seqs: Tensor,
    target_seqs_layout: BatchLayout,
) -> TeacherOutput:
    """What a frozen teacher has to say on a batch.

    Args:
        model: the teacher.
        source_seqs: source ids ``[B, S]``.
        source_seqs_layout: how long each source is.
        target_seqs: target ids ``[B, T]``.
        target_seqs_layout: how long each target is.

    Returns:
        the decoder's output ``[B, T, D]`` and its projection; of a model that is no Transformer,
        its logits ``[B, T, V']``.
    """
    inputs = (source_seqs, source_seqs_layout, target_seqs, target_seqs_layout)
    if isinstance(model, TransformerModel):
        return TeacherOutput(in_autocast(encoder_decoder_output(model, inputs)), model.final_proj)
    return TeacherOutput(model(*inputs), None)
