"""Translation with a decoder-only model: the same words whatever the batch.

fairseq2's own generators go wrong where prompts of different lengths share a batch, count the
prompt into the score, and end a beam search at the first finished hypotheses. Here prompts of
equal length share a batch, only the translation counts, and a search ends when no unfinished
hypothesis can still win.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from fairseq2.models.clm import CausalLM
from fairseq2.models.transformer_lm import TransformerLM
from fairseq2.nn import BatchLayout, IncrementalStateBag
from torch import Tensor

from sekd_plugin.errors import SekdError

MAX_LENGTH_RATIO = 3.0
"""How many times as long as its prompt a translation may be, ten words more allowed.

Without it a search that divides by the length prefers, to every true translation of a short
sentence, one that repeats a word up to the greatest length."""

_EXTRA_LENGTH = 10


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
    translations: list[list[int]] = [[] for _ in prompts]
    was_training = model.training
    model.eval()
    try:
        for batch in equal_lengths(prompts, batch_tokens // beam_size):
            seqs = torch.stack([prompts[number] for number in batch])
            length = seqs.shape[1]
            limit = _EXTRA_LENGTH + int(min(max_length_ratio * length, max_length))
            room = min(max_length, limit, model.max_seq_len - length)
            steps = _Steps(model, seqs, room, forbidden)
            if beam_size == 1:
                found = _greedy(steps, len(batch), eos_index, room)
            else:
                found = _beam(steps, len(batch), eos_index, room, beam_size, length_penalty)
            for number, translation in zip(batch, found, strict=True):
                translations[number] = translation
            if progress is not None:
                progress(len(batch))
    finally:
        model.train(was_training)
    return translations


def equal_lengths(prompts: Sequence[Tensor], batch_tokens: int) -> Iterator[list[int]]:
    """The numbers of prompts ``[S]`` of one length each, as many as have so many tokens."""
    by_length: dict[int, list[int]] = {}
    for number, prompt in enumerate(prompts):
        by_length.setdefault(prompt.numel(), []).append(number)
    for length, numbers in sorted(by_length.items()):
        size = max(1, batch_tokens // length)
        for start in range(0, len(numbers), size):
            yield numbers[start : start + size]


class _Steps:
    """The model, one word at a time, with what it has read so far in a cache."""

    def __init__(
        self, model: CausalLM, prompts: Tensor, room: int, forbidden: Sequence[int]
    ) -> None:
        self._model = model
        self._state = IncrementalStateBag(prompts.shape[1] + room + 1)
        self._forbidden = list(forbidden)
        self._log_probs = self._read(prompts)

    @property
    def log_probs(self) -> Tensor:
        """Log-probabilities of the next word, ``[N, V]``; ``-inf`` for the forbidden."""
        return self._log_probs

    def advance(self, rows: Tensor, words: Tensor) -> None:
        """Keep ``rows`` (repeats allowed), and have each read its word of ``words``."""
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
        wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
        if wide.isnan().any():
            raise SekdError("the model's outputs are not numbers (NaN); its training went wrong")
        log_probs = torch.log_softmax(wide, dim=-1)
        log_probs[:, self._forbidden] = -torch.inf
        return log_probs


def _greedy(steps: _Steps, num_prompts: int, eos_index: int, room: int) -> list[list[int]]:
    translations: list[list[int]] = [[] for _ in range(num_prompts)]
    active = list(range(num_prompts))
    for place in range(room):
        words = steps.log_probs.argmax(dim=-1)
        going = (words != eos_index).nonzero().squeeze(-1)
        active = [active[row] for row in going.tolist()]
        words = words[going]
        for number, word in zip(active, words.tolist(), strict=True):
            translations[number].append(word)
        if not active or place == room - 1:
            break
        steps.advance(going, words)
    return translations


@dataclass
class _Search:
    """One prompt's beam."""

    words: list[list[int]] = field(default_factory=lambda: [[]])
    """The unfinished hypotheses, likeliest first."""

    sums: list[float] = field(default_factory=lambda: [0.0])
    """Σ log q of each."""

    best: list[int] | None = None
    """The best finished translation."""

    best_score: float = -float("inf")
    """Its Σ log q / length^penalty."""


def _beam(
    steps: _Steps,
    num_prompts: int,
    eos_index: int,
    room: int,
    beam_size: int,
    length_penalty: float,
) -> list[list[int]]:
    searches = [_Search() for _ in range(num_prompts)]
    active = list(range(num_prompts))
    for place in range(room):
        rows: list[int] = []
        words: list[int] = []
        still: list[int] = []
        first_row = 0
        for number in active:
            search = searches[number]
            block = steps.log_probs[first_row : first_row + len(search.words)]
            parents = _extend(search, block, eos_index, beam_size, length_penalty)
            if _can_win(search, room, length_penalty):
                still.append(number)
                rows += [first_row + parent for parent in parents]
                words += [hypothesis[-1] for hypothesis in search.words]
            first_row += block.shape[0]
        active = still
        if not active or place == room - 1:
            break
        device = steps.log_probs.device
        steps.advance(torch.tensor(rows, device=device), torch.tensor(words, device=device))
    return [search.words[0] if search.best is None else search.best for search in searches]


def _extend(
    search: _Search, log_probs: Tensor, eos_index: int, beam_size: int, length_penalty: float
) -> list[int]:
    """Extend each hypothesis by one word; return which hypothesis each of the kept came from."""
    vocabulary = log_probs.shape[-1]
    sums = log_probs.double() + log_probs.new_tensor(search.sums, dtype=torch.float64)[:, None]
    ending = sums[:, eos_index].tolist()
    length = len(search.words[0]) + 1
    for hypothesis, total in zip(search.words, ending, strict=True):
        score = total / length**length_penalty
        if score > search.best_score:
            search.best, search.best_score = hypothesis, score
    sums[:, eos_index] = -torch.inf
    kept = sums.flatten().topk(min(beam_size, sums.numel()))
    pairs = [
        (total, *divmod(place, vocabulary))
        for total, place in zip(kept.values.tolist(), kept.indices.tolist(), strict=True)
        if total > -float("inf")
    ]
    search.words = [[*search.words[parent], word] for _, parent, word in pairs] or search.words
    search.sums = [total for total, _, _ in pairs]
    return [parent for _, parent, _ in pairs]


def _can_win(search: _Search, room: int, length_penalty: float) -> bool:
    """Whether an unfinished hypothesis, all of its further words certain, could still be best."""
    if not search.sums:
        return False
    length = room if length_penalty > 0.0 else len(search.words[0]) + 1
    return bool(search.sums[0] / length**length_penalty > search.best_score)
