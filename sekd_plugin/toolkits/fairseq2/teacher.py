"""The teacher of a batch: run, it gives hidden states and output projection, or logits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypedDict

import torch
from fairseq2.models.clm import CausalLM
from fairseq2.models.transformer_lm import TransformerLM
from fairseq2.nn import BatchLayout
from torch import Tensor
from torch.distributed import ProcessGroup
from torch.nn import Module

from sekd_plugin.kernels.row_kernel import TeacherRows
from sekd_plugin.rows import TargetRows
from sekd_plugin.teachers import SparseTeacher
from sekd_plugin.toolkits.fairseq2.batch_form import Batch, Inputs
from sekd_plugin.toolkits.fairseq2.projection import in_autocast, output_projection
from sekd_plugin.toolkits.fairseq2.student import decoder_output


class TeacherArguments(TypedDict, total=False):
    """What ``forward_linear`` is given of the teacher."""

    teacher_hidden: Tensor
    teacher_weight: Tensor
    teacher_bias: Tensor | None
    teacher_logits: Tensor | SparseTeacher


class TeacherWords(Protocol):
    """What a teacher has to say on a batch."""

    def for_states(self, group: ProcessGroup | None) -> TeacherArguments:
        """Arguments for ``forward_linear``, beside a student whose words ``group`` divides."""
        ...

    def logits(self, rows: TargetRows) -> TeacherRows:
        """Logits on the target tokens alone, ``[n, V']``, or what stands for them."""
        ...


class Teacher(Protocol):
    """Where what the teacher has to say comes from."""

    def read(self, batch: Batch, inputs: Inputs, rows: TargetRows) -> TeacherWords:
        """What it has to say on a batch.

        Args:
            batch: the sentences, source and translation.
            inputs: what a model reads of them.
            rows: where the target tokens are.
        """
        ...


@dataclass(frozen=True)
class TeacherOutput:
    """What the teacher has to say on a batch."""

    states: Tensor
    """Its decoder's output ``[B, S, D]``; where that cannot be had, its logits ``[B, S, V']``."""

    final_proj: Module | None
    """From states to logits; None where the states are logits."""

    @classmethod
    @torch.no_grad()
    def of(cls, model: CausalLM, seqs: Tensor, layout: BatchLayout) -> TeacherOutput:
        """Run the teacher on token ids ``[B, S]``."""
        if isinstance(model, TransformerLM):
            return cls(in_autocast(decoder_output(model, seqs, layout)), model.final_proj)
        return cls(model(seqs, layout), None)

    def for_states(self, group: ProcessGroup | None) -> TeacherArguments:
        """Arguments for ``forward_linear``, beside a student whose words ``group`` divides."""
        if self.final_proj is None:
            return {"teacher_logits": self.states}
        projection = output_projection(self.final_proj)
        if projection is None or (projection.group is None) != (group is None):
            return {"teacher_logits": self.project(self.states)}
        return {
            "teacher_hidden": self.states,
            "teacher_weight": projection.weight,
            "teacher_bias": projection.bias,
        }

    def logits(self, rows: TargetRows) -> Tensor:
        """Logits on the target tokens alone: ``[n, V']``."""
        return self.project(self.target_states(rows))

    def target_states(self, rows: TargetRows) -> Tensor:
        """The states of the target tokens alone: ``[n, D]``."""
        return rows.take(self.states, "the teacher's output")

    @torch.no_grad()
    def project(self, states: Tensor) -> Tensor:
        """From some of the states to their logits: ``[r, D]`` → ``[r, V']``."""
        if self.final_proj is None:
            return states
        logits: Tensor = self.final_proj(states)
        return logits


@dataclass(frozen=True)
class LiveTeacher:
    """A teacher in memory, run on each batch."""

    model: Module
    """The model, frozen."""

    run: Callable[..., TeacherOutput] = TeacherOutput.of
    """From the model and what it reads, each for itself, to what it has to say."""

    def read(self, batch: Batch, inputs: Inputs, rows: TargetRows) -> TeacherOutput:
        """Run it."""
        return self.run(self.model, *inputs)
