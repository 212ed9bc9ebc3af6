"""The student: a fairseq2 decoder-only model whose forward can end in a loss.

The loss runs inside the root module's forward, where data-parallel wrappers see it and FSDP2
shows the full output projection; outside of it only a shard would be at hand.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from fairseq2.models.clm import CausalLM
from fairseq2.models.transformer_lm import TransformerLM
from fairseq2.nn import BatchLayout
from torch import Tensor
from torch.nn import Module

from sekd_plugin.errors import ConfigError
from sekd_plugin.rows import TargetRows

RowsLoss = Callable[[Tensor, Callable[[Tensor], Tensor]], Tensor]
"""From the decoder's output ``[B, S, D]`` and the output projection to a scalar."""


class StudentLM(TransformerLM):  # type: ignore[misc]  # final to type checkers only
    """A :class:`TransformerLM` that runs a loss on its decoder's output, inside its forward."""

    def forward(
        self,
        seqs: Tensor,
        seqs_layout: BatchLayout,
        *arguments: Any,
        rows_loss: RowsLoss | None = None,
        **options: Any,
    ) -> Any:
        """Return ``rows_loss(decoder_output, final_proj)``, or what the parent returns."""
        if rows_loss is None:
            return super().forward(seqs, seqs_layout, *arguments, **options)
        return rows_loss(decoder_output(self, seqs, seqs_layout), self.final_proj)


def make_student(model: Module) -> None:
    """Turn a model into a student, in place; its parameters and their names stay.

    fairseq2 throws away a module that a recipe returns, so the class is what changes.

    Raises:
        ConfigError: the model is not a decoder-only Transformer of fairseq2.
    """
    if type(model) is not TransformerLM:
        raise ConfigError(
            "model.family",
            f"gives a {type(model).__name__}, which cannot be trained here; "
            "it must be a decoder-only family: llama, qwen, mistral or olmo",
        )
    model.__class__ = StudentLM


def decoder_output(model: TransformerLM, seqs: Tensor, layout: BatchLayout) -> Tensor:
    """What the output projection is applied to: token ids ``[B, S]`` → ``[B, S, D]``."""
    embeddings, layout = model.decoder_frontend(seqs, layout, state_bag=None)
    states: Tensor = model.decoder(embeddings, layout, state_bag=None)
    return states


@torch.no_grad()
def teacher_logits(
    teacher: CausalLM, seqs: Tensor, layout: BatchLayout, rows: TargetRows
) -> Tensor:
    """The frozen teacher's logits on the target tokens alone: ``[n, V']``."""
    if isinstance(teacher, TransformerLM):
        states = decoder_output(teacher, seqs, layout)
        logits: Tensor = teacher.final_proj(rows.take(states, "teacher's decoder output"))
        return logits
    return rows.take(teacher(seqs, layout), "teacher's logits")
