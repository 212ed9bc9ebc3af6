"""What a cache holds and was made from, and how its sentences are divided into files."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sekd_plugin.checks import at_least
from sekd_plugin.errors import ConfigError, DataError, SekdError
from sekd_plugin.new_file import write_once
from sekd_plugin.teachers.cache.packing import PROBABILITY_BITS
from sekd_plugin.teachers.likeliest import Likeliest

FORMAT = 1
"""Of the files; one of another number is not read."""

PLAN_FILE = "plan.json"
MOST_WORDS = 65_535
"""The most words that a token can list."""


@dataclass(frozen=True, kw_only=True)
class CachePlan:
    """What a cache is made from: with an equal plan, one kind of machine makes an equal cache."""

    teacher: str = field(compare=False)
    """Name or path of the teacher, for people."""

    teacher_fingerprint: str
    """What tells this teacher's weights from others."""

    tokenizer: str = field(compare=False)
    """Path of the vocabulary, for people."""

    tokenizer_fingerprint: str
    """What tells this vocabulary from others."""

    template: str | list[str]
    """The prompt; or all of them, in alphabetical order, where files have their own."""

    vocabulary: int
    """V, the teacher's number of words."""

    temperature: float
    """T at which probabilities are formed."""

    top_k: int
    """The most words that a token lists."""

    top_p: float
    """Of these, the fewest that have so much probability together."""

    probability_bits: int
    """How a probability is kept: 16 or 32 bits."""

    num_sentences: int
    """Sentences, each once."""

    num_tokens: int
    """Target tokens."""

    data_fingerprint: str
    """SHA-256 of the keys of all sentences, in their order."""

    shard_sentences: int
    """How many sentences a file holds; the last may hold fewer."""

    def __post_init__(self) -> None:
        at_least("shard_sentences", self.shard_sentences, 1)
        if self.probability_bits not in PROBABILITY_BITS:
            raise ConfigError(
                "probability_bits", f"{self.probability_bits} is not allowed; it must be 16 or 32"
            )
        if self.likeliest.top_k > MOST_WORDS:
            raise ConfigError(
                "top_k", f"{self.top_k} is out of range; it must be {MOST_WORDS} or less"
            )

    @property
    def likeliest(self) -> Likeliest:
        """Which words a token lists."""
        return Likeliest(top_k=self.top_k, top_p=self.top_p)

    @property
    def templates(self) -> list[str]:
        """All prompts."""
        return [self.template] if isinstance(self.template, str) else self.template

    @property
    def num_shards(self) -> int:
        """How many files hold the sentences."""
        return -(-self.num_sentences // self.shard_sentences)

    def sentences_of(self, shard: int) -> range:
        """The numbers of a file's sentences."""
        first = shard * self.shard_sentences
        return range(first, min(first + self.shard_sentences, self.num_sentences))

    def digest(self) -> str:
        """SHA-256 of all of it."""
        return hashlib.sha256(_text_of(self).encode()).hexdigest()


def one_or_all(templates: Iterable[str]) -> str | list[str]:
    """How a plan states the prompts of a corpus, whatever the order of its files."""
    found = sorted(set(templates))
    return found[0] if len(found) == 1 else found


def shard_file(folder: Path, shard: int) -> Path:
    """Where a range of sentences is kept."""
    return folder / f"shard_{shard:05d}.safetensors"


def data_fingerprint(keys: list[bytes]) -> str:
    """SHA-256 of the sentences' keys, in their order."""
    return hashlib.sha256(b"".join(keys)).hexdigest()


def begin(folder: Path, plan: CachePlan) -> CachePlan:
    """Make the folder of a new cache, or see that the one there is made from the same.

    Several processes may begin one cache at once. The plan that is in the folder then is returned;
    only paths in it may be others.

    Raises:
        SekdError: the folder holds something else, a cache of another plan, or cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / PLAN_FILE).exists():
            foreign = next((entry for entry in folder.iterdir() if not _is_ours(entry)), None)
            if foreign is not None:
                raise SekdError(
                    f"{folder} holds other files ({foreign.name}); name a new folder for the cache"
                )
            write_once(folder / PLAN_FILE, _text_of(plan))
    except OSError as error:
        raise SekdError(f"{folder} cannot be written: {error.strerror}") from None
    there = read_plan(folder)
    if there != plan:
        raise SekdError(f"{folder} holds a cache of other things: {_difference(there, plan)}")
    return there


def read_plan(folder: Path) -> CachePlan:
    """The plan of the cache in ``folder``.

    Raises:
        SekdError, DataError: there is none, or its file is damaged.
    """
    file = folder / PLAN_FILE
    if not file.is_file():
        raise SekdError(f"{folder} is not a teacher cache: it has no {PLAN_FILE}")
    content = read_checked(file)
    if content.get("format") != FORMAT:
        raise DataError(file, f"is of format {content.get('format')}; this version reads {FORMAT}")
    known = {each.name for each in dataclasses.fields(CachePlan)}
    given = {name: value for name, value in content.items() if name != "format"}
    if set(given) != known:
        raise DataError(file, "is not a plan of a teacher cache")
    return CachePlan(**given)


def with_checksum(content: Mapping[str, Any]) -> str:
    """JSON that says of itself whether it is whole."""
    return _json({**content, "checksum": _checksum(content)}) + "\n"


def read_checked(file: Path) -> dict[str, Any]:
    """What :func:`with_checksum` wrote.

    Raises:
        DataError: it cannot be read, or a byte of it has changed.
    """
    try:
        data = file.read_bytes()
    except OSError as error:
        raise DataError(file, f"cannot be read: {error.strerror}") from None
    try:
        content = json.loads(data)
        stated = content.pop("checksum")
    except (ValueError, KeyError, AttributeError):
        raise DataError(file, "is damaged: it is not the JSON that was written") from None
    if stated != _checksum(content) or data.decode() != with_checksum(content):
        raise DataError(file, "is damaged: its checksum is another")
    return dict(content)


def _text_of(plan: CachePlan) -> str:
    return with_checksum({"format": FORMAT, **dataclasses.asdict(plan)})


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False)


def _checksum(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(_json(content).encode()).hexdigest()


def _is_ours(entry: Path) -> bool:
    return entry.name == "locks" or entry.name.startswith(f".{PLAN_FILE}.")


def _difference(there: CachePlan, wanted: CachePlan) -> str:
    """The first thing in which two plans differ, with both sides."""
    names = [each.name for each in dataclasses.fields(CachePlan) if each.compare]
    name = next(name for name in names if getattr(there, name) != getattr(wanted, name))
    return f"its {name} is {getattr(there, name)!r}, and {getattr(wanted, name)!r} is asked for"
