"""Noise in a clean corpus, for study: pairs whose translation is another sentence's, or wrong."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, replace

from sekd_plugin.checks import at_least, between
from sekd_plugin.corpus.sentence_pair import SentencePair
from sekd_plugin.errors import ConfigError

WRONG_WORDS = 0.5
"""The share of a mistranslated sentence's words that are replaced."""


@dataclass(frozen=True, kw_only=True)
class Noise:
    """How much of a file's pairs is spoilt, and by which draw."""

    misaligned: float = 0.0
    """The share of pairs whose translations are dealt out anew among them: right sentences, to
    other sources."""

    mistranslated: float = 0.0
    """The share of pairs, of the others, that have half of their translation's words replaced by
    words drawn from all translations of the file."""

    seed: int = 1
    """What is spoilt hangs on this and on the file's pairs alone, not on the training's seed."""


def check_noise(noise: Noise) -> None:
    """Check the shares and the seed.

    Raises:
        ConfigError: a share is not between 0 and 1, they are more than 1 together, or the seed is
            negative.
    """
    at_least("seed", noise.seed, 0)
    between("misaligned", noise.misaligned, 0.0, 1.0)
    between("mistranslated", noise.mistranslated, 0.0, 1.0)
    if noise.misaligned + noise.mistranslated > 1.0:
        raise ConfigError(
            "mistranslated",
            f"{noise.mistranslated!r} and misaligned {noise.misaligned!r} are more than 1 together",
        )


def add_noise(pairs: Iterable[SentencePair], noise: Noise) -> list[SentencePair]:
    """Spoil some of the pairs; each stays at its place, with its source.

    Formula:
        round(misaligned · n) pairs pass their translations round in a random ring, so each gets
        another pair's; of the rest, round(mistranslated · n) have half of their words replaced

    Args:
        pairs: n sentences with their translations.
        noise: the shares.
    """
    found = list(pairs)
    draw = random.Random(noise.seed)
    order = draw.sample(range(len(found)), len(found))
    ring = order[: round(noise.misaligned * len(found))]
    wrong = order[len(ring) : len(ring) + round(noise.mistranslated * len(found))]
    spoilt = {
        place: found[giver].target for place, giver in zip(ring, ring[1:] + ring[:1], strict=True)
    }
    words = [word for pair in found for word in pair.target.split()] if wrong else []
    for place in wrong:
        spoilt[place] = _with_wrong_words(found[place].target, words, draw)
    return [
        replace(pair, target=spoilt[place]) if place in spoilt else pair
        for place, pair in enumerate(found)
    ]


def _with_wrong_words(target: str, words: list[str], draw: random.Random) -> str:
    sentence = target.split()
    for place in draw.sample(range(len(sentence)), round(WRONG_WORDS * len(sentence))):
        sentence[place] = draw.choice(words)
    return " ".join(sentence)
