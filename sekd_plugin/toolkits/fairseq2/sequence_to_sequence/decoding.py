"""Translation with an encoder–decoder model: the same words whatever the batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

import torch
from fairseq2.models.seq2seq import Seq2SeqModel
from fairseq2.nn import BatchLayout, IncrementalStateBag
from torch import Tensor

from sekd_plugin.toolkits.fairseq2.search import Reading, SearchArguments, next_words, search_all


def translate_sources(
    model: Seq2SeqModel,
    sources: Sequence[Tensor],
    *,
    prefixes: Sequence[Sequence[int]],
    **search: Unpack[SearchArguments],
) -> list[list[int]]:
    """Translate sources, each as if it were alone.

    Args:
        model: the model; put into evaluation mode meanwhile.
        sources: token ids, ``[S]`` each, language and end included.
        prefixes: what the decoder is given before the first word, equally many ids for each
            source.
        search: as :func:`search_all`.

    Returns:
        The translations' token ids without prefix and end, in the order of the sources.

    Raises:
        SekdError: a source is longer than the model takes, or the model's outputs are not numbers.
    """
    given = max(map(len, prefixes), default=0)

    def begin(numbers: list[int], room: int, forbidden: Sequence[int]) -> _Steps:
        chosen = torch.stack([sources[number] for number in numbers])
        read = chosen.new_tensor([list(prefixes[number]) for number in numbers])
        return _Steps(model, chosen, read, room, forbidden)

    def problem(length: int) -> str | None:
        if length <= model.max_source_seq_len:
            return None
        return f"the sentence has {length} tokens, and the model takes {model.max_source_seq_len}"

    reading = Reading(
        begin=begin,
        # The last word is only produced, never read.
        longest=lambda length: model.max_target_seq_len - given + 1,
        problem=problem,
    )
    return search_all(model, sources, reading, **search)


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
