"""What the loss needs: from hidden states, and for comparison over all logits at once."""

from __future__ import annotations

from dataclasses import dataclass

from sekd_plugin.memory.settings import LossPlan

_FP32 = 4
_PIECES = 4
"""Pieces of ``cache_bytes`` that a kernel works on at a time."""

_DENSE_BLOCKS = 10
"""Blocks of fp32 logits that the definition over all logits holds at its worst, those of student
and teacher among them: 1257 MiB were measured at 1024 tokens and 32,000 words, see
docs/performance.md."""


@dataclass(frozen=True, kw_only=True)
class OutputSide:
    """One model's side of the loss."""

    words: int
    """Words whose rows of the output projection this device holds."""

    width: int
    """D, the size of a hidden state."""

    state_bytes: int
    """Bytes of a number of the hidden states, as the loss is given them."""

    weight_bytes: int
    """Likewise of the output projection."""

    def copy_bytes(self, on_gpu: bool) -> int:
        """A copy of the projection in the type that is multiplied in, where that is another."""
        factor = self.state_bytes if on_gpu else max(self.state_bytes, _FP32)
        return 0 if factor == self.weight_bytes else factor * self.words * self.width


@dataclass(frozen=True, kw_only=True)
class LossMemory:
    """Bytes of the loss of n target tokens."""

    plan: LossPlan
    """How it is computed."""

    tokens: int
    """n, target tokens."""

    student: OutputSide
    """The student's side."""

    teacher: OutputSide | None
    """The teacher's side, if there is one in memory."""

    on_gpu: bool = True
    """GPUs multiply half-precision numbers as they are."""

    scaled: bool = False
    """Whether the loss is scaled, and so the gradients are kept in fp32 until they are."""

    def while_computing(self, with_gradient: bool = True) -> int:
        """At its worst, results included."""
        if not self.plan.fused:
            return self.dense()
        sides = [self.student] + ([] if self.teacher is None else [self.teacher])
        states = sum(side.state_bytes * side.width * self.tokens for side in sides)
        copies = sum(side.copy_bytes(self.on_gpu) for side in sides)
        total = states + copies + len(sides) * self._block() + self._pieces()
        if with_gradient:
            total += self._block() + self.kept() + self._narrow_products()
        return total

    def kept(self) -> int:
        """What is handed to the backward pass: gradients by hidden states and projection.

        The projection's is summed in fp32.
        """
        if not self.plan.fused:
            return self.dense()
        number = max(self.student.state_bytes, _FP32) if self.scaled else self.student.state_bytes
        by_states = number * self.student.width * self.tokens
        return by_states + _FP32 * self.student.words * self.student.width

    def handed_on(self) -> int:
        """The same while the backward pass takes it: a scaled copy is made, if any."""
        return 2 * self.kept() if self.scaled and self.plan.fused else self.kept()

    def dense(self) -> int:
        """The definition by autograd, over all logits at once."""
        return _DENSE_BLOCKS * _FP32 * self.tokens * self.student.words

    def _block(self) -> int:
        """One chunk of logits."""
        row = _FP32 * self.student.words
        return min(self.tokens, max(1, self.plan.logits_bytes // row)) * row

    def _pieces(self) -> int:
        return _PIECES * min(self.plan.cache_bytes, self._block())

    def _narrow_products(self) -> int:
        """On a GPU, factors in half precision: the narrowed chunk, and its product in fp32."""
        if not self.on_gpu or self.student.state_bytes >= _FP32:
            return 0
        narrowed = self._block() * self.student.state_bytes // _FP32
        return narrowed + _FP32 * self.student.words * self.student.width
