"""Translation with a decoder-only model: the same words whatever the batch.

fairseq2's own generators go wrong where prompts of different lengths share a batch, count the
prompt into the score, and end a beam search at the first finished hypotheses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

import torch
from fairseq2.models.clm import CausalLM
from fairseq2.models.transformer_lm import TransformerLM
from fairseq2.nn import BatchLayout, IncrementalStateBag
from torch import Tensor

from sekd_plugin.toolkits.fairseq2.search import Reading, SearchArguments, next_words, search_all


def translate_prompts(
    model: CausalLM, prompts: Sequence[Tensor], **search: Unpack[SearchArguments]
) -> list[list[int]]:
    """Translate prompts, each as if it were alone.

    Args:
        model: the model; put into evaluation mode meanwhile.
        prompts: token ids, ``[S]`` each, S ≥ 1.
        search: as :func:`search_all`.

    Returns:
        The translations' token ids without the end, in the order of the prompts.

    Raises:
        SekdError: a prompt leaves no room in the model's longest sequence, or the model's
            outputs are not numbers.
    """

    def problem(length: int) -> str | None:
        if length < model.max_seq_len:
            return None
        return (
            f"the prompt has {length} tokens, and the model takes {model.max_seq_len} with the "
            "translation"
        )

    reading = Reading(
        begin=lambda numbers, room, forbidden: _Steps(
            model, torch.stack([prompts[number] for number in numbers]), room, forbidden
        ),
        longest=lambda length: model.max_seq_len - length,
        problem=problem,
    )
    return search_all(model, prompts, reading, **search)


class _Steps:
    """The model, one word at a time, with what it has read so far in a cache."""

    def __init__(
        self, model: CausalLM, prompts: Tensor, room: int, forbidden: Sequence[int]
    ) -> None:
        self._model = model
        self._state = IncrementalStateBag(prompts.shape[1] + room + 1)
        self._forbidden = forbidden
        self._log_probs = self._read(prompts)

    @property
    def log_probs(self) -> Tensor:
        return self._log_probs

    def advance(self, rows: Tensor, words: Tensor) -> None:
        self._state.reorder(rows)
        self._log_probs = self._read(words.unsqueeze(-1))

    def _read(self, seqs: Tensor) -> Tensor:
        layout = BatchLayout.of(seqs)
        if isinstance(self._model, TransformerLM):
            embeddings, layout = self._model.decoder_frontend(seqs, layout, state_bag=self._state)
            states = self._model.decoder(embeddings, layout, state_bag=self._state)
            logits = self._model.final_proj(states[:, -1])
        else:
            logits = self._model(seqs, layout, state_bag=self._state)[:, -1]
        self._state.increment_step_nr(seqs.shape[1])
        return next_words(logits, self._forbidden)
