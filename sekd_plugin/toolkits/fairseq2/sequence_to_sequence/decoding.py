"""Greedy translation with an encoder–decoder model: the same words whatever the batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from fairseq2.models.seq2seq import Seq2SeqModel
from fairseq2.nn import BatchLayout, IncrementalStateBag
from torch import Tensor

from sekd_plugin.errors import SekdError
from sekd_plugin.toolkits.fairseq2.decoding import equal_lengths


@torch.inference_mode()
def translate_sources(
    model: Seq2SeqModel,
    sources: Sequence[Tensor],
    *,
    prefix: Sequence[int],
    eos_index: int,
    pad_index: int,
    max_length: int,
    banned: Sequence[int] = (),
    batch_tokens: int = 8192,
    names: Sequence[str] | None = None,
    progress: Callable[[int], object] | None = None,
) -> list[list[int]]:
    """Translate sources, each as if it were alone: the likeliest word at each place.

    Sources of equal length share a batch.

    Args:
        model: the model; put into evaluation mode meanwhile.
        sources: token ids, ``[S]`` each, language and end included.
        prefix: what the decoder is given before the first word.
        eos_index: the word that ends a translation.
        pad_index: never produced.
        max_length: a translation is cut off at so many words, its end counted.
        banned: further words that are never produced.
        batch_tokens: the most source tokens in a batch.
        names: what errors call each source; None numbers them.
        progress: called with the number of sources just finished.

    Returns:
        The translations' token ids without prefix and end, in the order of the sources.

    Raises:
        SekdError: a source is longer than the model takes, or the model's outputs are not numbers.
    """
    for number, source in enumerate(sources):
        if source.numel() > model.max_source_seq_len:
            name = f"sentence {number + 1}" if names is None else names[number]
            raise SekdError(
                f"{name}: the sentence has {source.numel()} tokens, and the model takes "
                f"{model.max_source_seq_len}"
            )
    forbidden = sorted({pad_index, *banned} - {eos_index})
    room = min(max_length, model.max_target_seq_len - len(prefix) + 1)
    translations: list[list[int]] = [[] for _ in sources]
    was_training = model.training
    model.eval()
    try:
        for batch in equal_lengths(sources, batch_tokens):
            seqs = torch.stack([sources[number] for number in batch])
            found = _greedy(model, seqs, prefix, eos_index, forbidden, room)
            for number, translation in zip(batch, found, strict=True):
                translations[number] = translation
            if progress is not None:
                progress(len(batch))
    finally:
        model.train(was_training)
    return translations


def _greedy(
    model: Seq2SeqModel,
    sources: Tensor,
    prefix: Sequence[int],
    eos_index: int,
    forbidden: list[int],
    room: int,
) -> list[list[int]]:
    translations: list[list[int]] = [[] for _ in range(sources.shape[0])]
    active = list(range(sources.shape[0]))
    state = IncrementalStateBag(len(prefix) + room)
    read = sources.new_tensor(prefix).expand(sources.shape[0], -1)
    for place in range(room):
        logits = model(
            sources, BatchLayout.of(sources), read, BatchLayout.of(read), state_bag=state
        )[:, -1]
        state.increment_step_nr(read.shape[1])
        if logits.isnan().any():
            raise SekdError("the model's outputs are not numbers (NaN); its training went wrong")
        logits[:, forbidden] = -torch.inf
        words = logits.argmax(dim=-1)
        going = (words != eos_index).nonzero().squeeze(-1)
        active = [active[row] for row in going.tolist()]
        words = words[going]
        for number, word in zip(active, words.tolist(), strict=True):
            translations[number].append(word)
        if not active or place == room - 1:
            break
        if going.numel() < sources.shape[0]:
            state.reorder(going)
            sources = sources[going]
        read = words.unsqueeze(-1)
    return translations
