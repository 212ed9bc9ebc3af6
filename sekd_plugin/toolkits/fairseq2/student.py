"""The student: a fairseq2 decoder-only model whose forward can end in a loss.

The loss runs inside the root module's forward, where data-parallel wrappers see it and FSDP2
shows the full output projection; outside of it only a shard would be at hand.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fairseq2.models.transformer_lm import TransformerLM
from fairseq2.nn import BatchLayout
from torch import Tensor
from torch.nn import Module

from sekd_plugin.errors import ConfigError

LossOfStates = Callable[[Tensor, Module], Tensor]
"""From the decoder's output ``[B, S, D]`` and the output projection to a scalar."""


class StudentLM(TransformerLM):  # type: ignore[misc]  # final to type checkers only
    """A :class:`TransformerLM` that runs a loss on its decoder's output, inside its forward."""

    def forward(
        self,
        seqs: Tensor,
        seqs_layout: BatchLayout,
        *arguments: Any,
        loss_of_states: LossOfStates | None = None,
        **options: Any,
    ) -> Any:
        """Return ``loss_of_states(decoder_output, final_proj)``, or what the parent returns."""
        if loss_of_states is None:
            return super().forward(seqs, seqs_layout, *arguments, **options)
        return loss_of_states(decoder_output(self, seqs, seqs_layout), self.final_proj)


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
