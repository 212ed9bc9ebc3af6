"""Translation with a decoder-only model: the same words whatever the batch.

fairseq2's own generators go wrong where prompts of different lengths share a batch, count the
prompt into the score, and end a beam search at the first finished hypotheses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from fairseq2.models.clm import CausalLM
from fairseq2.models.transformer_lm import TransformerLM
from fairseq2.nn import BatchLayout, IncrementalStateBag
from torch import Tensor

from sekd_plugin.errors import SekdError
from sekd_plugin.toolkits.fairseq2.search import MAX_LENGTH_RATIO, next_words, search_all


@torch.inference_mode()
def translate_prompts(
    model: CausalLM,
    prompts: Sequence[Tensor],
    *,
    eos_index: int,
    pad_index: int,
    max_length: int,
    max_length_ratio: float = MAX_LENGTH_RATIO,
    beam_size: int = 1,
    length_penalty: float = 1.0,
    banned: Sequence[int] = (),
    batch_tokens: int = 8192,
    names: Sequence[str] | None = None,
    progress: Callable[[int], object] | None = None,
) -> list[list[int]]:
    """Translate prompts, each as if it were alone.

    Greedy search takes the likeliest word at each place. Beam search keeps the ``beam_size``
    likeliest unfinished translations and returns the finished one with the greatest
    Σ log q / length^penalty, the end counted; it is done when the best unfinished one, were all
    of its further words certain, could not win.

    Args:
        model: the model; put into evaluation mode meanwhile.
        prompts: token ids, ``[S]`` each, S ≥ 1.
        eos_index: the word that ends a translation.
        pad_index: never produced.
        max_length: a translation is cut off at so many words, its end counted,
        max_length_ratio: and at ten more than so many times its prompt's length.
        beam_size: 1 is greedy.
        length_penalty: the power of the length; only with a beam.
        banned: further words that are never produced.
        batch_tokens: the most prompt tokens in a batch, hypotheses counted.
        names: what errors call each prompt; None numbers them.
        progress: called with the number of prompts just finished.

    Returns:
        The translations' token ids without the end, in the order of the prompts.

    Raises:
        SekdError: a prompt leaves no room in the model's longest sequence, or the model's
            outputs are not numbers.
    """
    for number, prompt in enumerate(prompts):
        if prompt.numel() >= model.max_seq_len:
            name = f"sentence {number + 1}" if names is None else names[number]
            raise SekdError(
                f"{name}: the prompt has {prompt.numel()} tokens, and the model takes "
                f"{model.max_seq_len} with the translation"
            )
    forbidden = sorted({pad_index, *banned} - {eos_index})
    was_training = model.training
    model.eval()
    try:
        return search_all(
            prompts,
            lambda numbers, room: _Steps(
                model, torch.stack([prompts[number] for number in numbers]), room, forbidden
            ),
            lambda length: model.max_seq_len - length,
            eos_index=eos_index,
            max_length=max_length,
            max_length_ratio=max_length_ratio,
            beam_size=beam_size,
            length_penalty=length_penalty,
            batch_tokens=batch_tokens,
            progress=progress,
        )
    finally:
        model.train(was_training)


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
