"""The frozen teacher of a batch: hidden states and output projection, or logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

import torch
from fairseq2.models.clm import CausalLM
from fairseq2.models.transformer_lm import TransformerLM
from fairseq2.nn import BatchLayout
from torch import Tensor
from torch.distributed import ProcessGroup

from sekd_plugin.rows import TargetRows
from sekd_plugin.toolkits.fairseq2.projection import in_autocast, output_projection
from sekd_plugin.toolkits.fairseq2.student import decoder_output


class TeacherArguments(TypedDict, total=False):
    """What ``forward_linear`` is given of the teacher."""

    teacher_hidden: Tensor
    teacher_weight: Tensor
    teacher_bias: Tensor | None
    teacher_logits: Tensor


@dataclass(frozen=True)
class TeacherOutput:
    """What the teacher has to say on a batch."""

    model: CausalLM
    """The teacher."""

    states: Tensor
    """Its decoder's output ``[B, S, D]``; of a model of another kind, its logits ``[B, S, V']``."""

    @classmethod
    @torch.no_grad()
    def of(cls, model: CausalLM, seqs: Tensor, layout: BatchLayout) -> TeacherOutput:
        """Run the teacher on token ids ``[B, S]``."""
        if isinstance(model, TransformerLM):
            return cls(model, in_autocast(decoder_output(model, seqs, layout)))
        return cls(model, model(seqs, layout))

    def for_states(self, group: ProcessGroup | None) -> TeacherArguments:
        """Arguments for ``forward_linear``, beside a student whose words ``group`` divides."""
        if isinstance(self.model, TransformerLM):
            projection = output_projection(self.model.final_proj)
            if projection is None or (projection.group is None) != (group is None):
                with torch.no_grad():
                    return {"teacher_logits": self.model.final_proj(self.states)}
            return {
                "teacher_hidden": self.states,
                "teacher_weight": projection.weight,
                "teacher_bias": projection.bias,
            }
        return {"teacher_logits": self.states}

    @torch.no_grad()
    def logits(self, rows: TargetRows) -> Tensor:
        """Logits on the target tokens alone: ``[n, V']``."""
        states = rows.take(self.states, "the teacher's output")
        if isinstance(self.model, TransformerLM):
            logits: Tensor = self.model.final_proj(states)
            return logits
        return states
