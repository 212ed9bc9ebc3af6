"""The search for a translation, greedy or with a beam, whatever model gives the words.

Sources of equal length share a batch, only the translation counts, and a search ends when no
unfinished hypothesis can still win.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, Required, TypedDict

import torch
from torch import Tensor
from torch.nn import Module

from sekd_plugin.errors import SekdError

MAX_LENGTH_RATIO = 3.0
"""How many times as long as its source a translation may be, ten words more allowed.

Without it a search that divides by the length prefers, to every true translation of a short
sentence, one that repeats a word up to the greatest length."""

_EXTRA_LENGTH = 10


class Steps(Protocol):
    """A model that reads a batch of hypotheses one word at a time."""

    @property
    def log_probs(self) -> Tensor:
        """Log-probabilities of the next word, ``[N, V]``; ``-inf`` for the forbidden."""
        ...

    def advance(self, rows: Tensor, words: Tensor) -> None:
        """Keep ``rows`` (repeats allowed), and have each read its word of ``words``."""
        ...


class SearchArguments(TypedDict, total=False):
    """How a translation is searched for; see :func:`search_all`."""

    eos_index: Required[int]
    pad_index: Required[int]
    max_length: Required[int]
    max_length_ratio: float
    beam_size: int
    length_penalty: float
    banned: Sequence[int]
    batch_tokens: int
    names: Sequence[str] | None
    progress: Callable[[int], object] | None


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How a model takes part in a search."""

    begin: Callable[[list[int], int, Sequence[int]], Steps]
    """From numbers of sources of one length, the most words of a translation, and the words that
    are forbidden, to the model that has read the sources."""

    longest: Callable[[int], int]
    """From a source's length to the most words that its translation has room for."""

    problem: Callable[[int], str | None]
    """Why a source of that length cannot be read; None where it can."""


@torch.inference_mode()
def search_all(
    model: Module,
    sources: Sequence[Tensor],
    reading: Reading,
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
    """Translate sources, each as if it were alone.

    Greedy search takes the likeliest word at each place. Beam search keeps the ``beam_size``
    likeliest unfinished translations and returns the finished one with the greatest
    Σ log q / length^penalty, the end counted; it is done when the best unfinished one, were all
    of its further words certain, could not win.

    Args:
        model: put into evaluation mode meanwhile.
        sources: token ids, ``[S]`` each, S ≥ 1.
        reading: how the model reads them.
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
        The translations' token ids without the end, in the order of the sources.

    Raises:
        SekdError: a source is too long for the model, or the model's outputs are not numbers.
    """
    for number, source in enumerate(sources):
        problem = reading.problem(source.numel())
        if problem is not None:
            name = f"sentence {number + 1}" if names is None else names[number]
            raise SekdError(f"{name}: {problem}")
    forbidden = sorted({pad_index, *banned} - {eos_index})
    translations: list[list[int]] = [[] for _ in sources]
    was_training = model.training
    model.eval()
    try:
        for batch in equal_lengths(sources, batch_tokens // beam_size):
            length = sources[batch[0]].numel()
            limit = _EXTRA_LENGTH + int(min(max_length_ratio * length, max_length))
            room = min(max_length, limit, reading.longest(length))
            steps = reading.begin(batch, room, forbidden)
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


def equal_lengths(sources: Sequence[Tensor], batch_tokens: int) -> Iterator[list[int]]:
    """The numbers of sources ``[S]`` of one length each, as many as have so many tokens."""
    by_length: dict[int, list[int]] = {}
    for number, source in enumerate(sources):
        by_length.setdefault(source.numel(), []).append(number)
    for length, numbers in sorted(by_length.items()):
        size = max(1, batch_tokens // length)
        for start in range(0, len(numbers), size):
            yield numbers[start : start + size]


def next_words(logits: Tensor, forbidden: Sequence[int]) -> Tensor:
    """Log-probabilities of the next word from its logits, both ``[N, V]``.

    Args:
        logits: of any floating type.
        forbidden: words that get ``-inf``.

    Raises:
        SekdError: the logits are not numbers.
    """
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if wide.isnan().any():
        raise SekdError("the model's outputs are not numbers (NaN); its training went wrong")
    log_probs = torch.log_softmax(wide, dim=-1)
    log_probs[:, list(forbidden)] = -torch.inf
    return log_probs


def _greedy(steps: Steps, num_sources: int, eos_index: int, room: int) -> list[list[int]]:
    translations: list[list[int]] = [[] for _ in range(num_sources)]
    active = list(range(num_sources))
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
    """One source's beam."""

    words: list[list[int]] = field(default_factory=lambda: [[]])
    """The unfinished hypotheses, likeliest first."""

    sums: list[float] = field(default_factory=lambda: [0.0])
    """Σ log q of each."""

    best: list[int] | None = None
    """The best finished translation."""

    best_score: float = -float("inf")
    """Its Σ log q / length^penalty."""


def _beam(
    steps: Steps,
    num_sources: int,
    eos_index: int,
    room: int,
    beam_size: int,
    length_penalty: float,
) -> list[list[int]]:
    searches = [_Search() for _ in range(num_sources)]
    active = list(range(num_sources))
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
