"""Translation with an encoder–decoder model: the same words whatever the batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from fairseq2.models.seq2seq import Seq2SeqModel
from fairseq2.nn import BatchLayout, IncrementalStateBag
from torch import Tensor

from sekd_plugin.errors import SekdError
from sekd_plugin.toolkits.fairseq2.search import MAX_LENGTH_RATIO, next_words, search_all


@torch.inference_mode()
def translate_sources(
    model: Seq2SeqModel,
    sources: Sequence[Tensor],
    *,
    prefixes: Sequence[Sequence[int]],
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
    """Translate sources, each as if it were alone; the search is :func:`translate_prompts`'s.

    Args:
        model: the model; put into evaluation mode meanwhile.
        sources: token ids, ``[S]`` each, language and end included.
        prefixes: what the decoder is given before the first word, equally many ids for each
            source.
        eos_index: the word that ends a translation.
        pad_index: never produced.
        max_length: a translation is cut off at so many words, its end counted,
        max_length_ratio: and at ten more than so many times its source's length.
        beam_size: 1 is greedy.
        length_penalty: the power of the length; only with a beam.
        banned: further words that are never produced.
        batch_tokens: the most source tokens in a batch, hypotheses counted.
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
    given = max(map(len, prefixes), default=0)

    def begin(numbers: list[int], room: int) -> _Steps:
        chosen = torch.stack([sources[number] for number in numbers])
        read = chosen.new_tensor([list(prefixes[number]) for number in numbers])
        return _Steps(model, chosen, read, room, forbidden)

    was_training = model.training
    model.eval()
    try:
        return search_all(
            sources,
            begin,
            # The last word is only produced, never read.
            lambda length: model.max_target_seq_len - given + 1,
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
        self,
        model: Seq2SeqModel,
        sources: Tensor,
        prefixes: Tensor,
        room: int,
        forbidden: Sequence[int],
    ) -> None:
        self._model = model
        self._sources = sources
        self._state = IncrementalStateBag(prefixes.shape[1] + room + 1)
        self._forbidden = forbidden
        self._log_probs = self._read(prefixes)

    @property
    def log_probs(self) -> Tensor:
        return self._log_probs

    def advance(self, rows: Tensor, words: Tensor) -> None:
        self._reorder(rows)
        self._log_probs = self._read(words.unsqueeze(-1))

    def _reorder(self, rows: Tensor) -> None:
        """Keep some rows of the cache.

        fairseq2 does not reorder what the decoder keeps of the encoder where as many rows stay as
        there were; so it is asked for one row more, and then for one less.
        """
        count = self._sources.shape[0]
        same = torch.arange(count, device=rows.device)
        if torch.equal(rows, same):
            return
        if rows.shape[0] == count:
            self._state.reorder(torch.cat([rows, rows[:1]]))
            self._state.reorder(same)
        else:
            self._state.reorder(rows)
        self._sources = self._sources[rows]

    def _read(self, seqs: Tensor) -> Tensor:
        logits = self._model(
            self._sources,
            BatchLayout.of(self._sources),
            seqs,
            BatchLayout.of(seqs),
            state_bag=self._state,
        )
        self._state.increment_step_nr(seqs.shape[1])
        return next_words(logits[:, -1], self._forbidden)
