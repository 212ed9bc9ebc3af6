"""The parallel corpus as token ids: read, encoded, measured, and what was dropped counted."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from fairseq2.datasets import SequenceBatch
from torch import Tensor

from sekd_plugin.checks import between
from sekd_plugin.corpus import PromptTemplate, SentencePair, read_pairs
from sekd_plugin.corpus.noise import Noise, add_noise, check_noise
from sekd_plugin.errors import ConfigError, DataError
from sekd_plugin.toolkits.fairseq2.pair_encoding import PairEncoding
from sekd_plugin.toolkits.fairseq2.sections import CorpusFileSection

MOST_WEIGHT = 1000.0
"""The most often that an epoch may see a sentence."""


@dataclass(kw_only=True)
class EncodedCorpus:
    """Sentence pairs as token ids, in the order of the files."""

    prompts: list[list[int]] = field(default_factory=list)
    """Prompt ids of each example, the beginning-of-sequence token included; or its source ids,
    where an encoder reads them."""

    targets: list[list[int]] = field(default_factory=list)
    """Target ids of each example, the end-of-sequence token included."""

    prefixes: list[tuple[int, ...]] = field(default_factory=list)
    """What a decoder is given before each target, where an encoder reads the source; else none."""

    places: list[tuple[Path, int]] = field(default_factory=list)
    """File and line of each example."""

    pairs: list[SentencePair] = field(default_factory=list)
    """The text of each example, where it was asked for."""

    weights: list[float] = field(default_factory=list)
    """How often an epoch sees each example."""

    dropped: dict[str, int] = field(default_factory=dict)
    """Why pairs were left out → how many."""

    def __len__(self) -> int:
        return len(self.prompts)

    def add(self, other: EncodedCorpus, example: int) -> None:
        """Add an example of another corpus, without its text."""
        self.prompts.append(other.prompts[example])
        self.targets.append(other.targets[example])
        self.prefixes.append(other.prefix(example))
        self.places.append(other.places[example])
        self.weights.append(other.weights[example])

    def prefix(self, example: int) -> tuple[int, ...]:
        """What a decoder is given before an example's target."""
        return self.prefixes[example] if self.prefixes else ()

    def ids(self) -> list[tuple[list[int], list[int]]]:
        """What is read before the first word of each translation, and the rest of it.

        A prefix counts as a part of the target here, so that two examples are equal only if a
        model is given the same.
        """
        return [
            (prompt, [*self.prefix(example), *target])
            for example, (prompt, target) in enumerate(zip(self.prompts, self.targets, strict=True))
        ]

    def chosen(self, examples: Iterable[int]) -> EncodedCorpus:
        """Some examples, in this order, without their text."""
        found = EncodedCorpus()
        for example in examples:
            found.add(self, example)
        return found

    def checksum(self) -> str:
        """What tells this corpus from another: SHA-256 of ids and weights, in their order."""
        total = hashlib.sha256()
        for ids in self.ids():
            total.update(json.dumps(ids).encode())
        total.update(json.dumps(self.weights).encode())
        return total.hexdigest()

    def lengths(self) -> list[int]:
        """Tokens of each example, prompt and target together."""
        return [
            len(prompt) + len(self.prefix(example)) + len(target)
            for example, (prompt, target) in enumerate(zip(self.prompts, self.targets, strict=True))
        ]


def encode_corpus(
    files: Sequence[CorpusFileSection],
    *,
    key: str,
    encodings: Sequence[PairEncoding],
    max_source_tokens: int | None = None,
    max_target_tokens: int | None = None,
    model_tokens: Mapping[str, Sequence[int]] | None = None,
    drop_long: bool = True,
    keep_text: bool = False,
    most: int | None = None,
) -> EncodedCorpus:
    """Read and encode files of sentence pairs.

    Args:
        files: the files, with their fields and weights.
        key: the setting that named them, for errors.
        encodings: how the pairs of each file become ids.
        max_source_tokens: pairs with a longer prompt, or source, are dropped; None keeps all.
        max_target_tokens: likewise for the target with its end.
        model_tokens: the models that read the pairs, and the longest each takes of the
            sequences that :meth:`PairEncoding.sequences` names.
        drop_long: whether a pair too long for a model is dropped, or refused.
        keep_text: whether to keep the sentences themselves.
        most: read no further where so many pairs are kept; None reads all.

    Raises:
        DataError: a file or line that cannot be read, a pair that is too long and not dropped,
            or no pair is left.
        ConfigError: a weight or a noise that cannot be used.
    """
    corpus = EncodedCorpus()
    seen = 0
    for number, (section, encoding) in enumerate(zip(files, encodings, strict=True)):
        check_file(f"{key}.{number}", section)
        pairs = read_pairs(
            section.path,
            target_path=section.target_path,
            source_field=section.source_field,
            target_field=section.target_field,
        )
        if section.noise is not None:
            pairs = iter(add_noise(pairs, section.noise))
        for pair in pairs:
            if len(corpus) == most:
                break
            seen += 1
            prompt = encoding.encode_source(pair.source)
            target = encoding.encode_target(pair.target)
            reason = _why_dropped(
                pair, prompt, target, encoding.source_name, max_source_tokens, max_target_tokens
            )
            if reason is None:
                subject, reason = _too_long(encoding.sequences(prompt, target), model_tokens or {})
                if reason is not None and not drop_long:
                    raise DataError(pair.file, f"{subject} {reason}", pair.line)
            if reason is not None:
                corpus.dropped[reason] = corpus.dropped.get(reason, 0) + 1
                continue
            corpus.prompts.append(prompt)
            corpus.targets.append(target)
            corpus.prefixes.append(encoding.prefix)
            corpus.places.append((pair.file, pair.line))
            corpus.weights.append(section.weight)
            if keep_text:
                corpus.pairs.append(pair)
    if not corpus.prompts:
        names = ", ".join(str(section.path) for section in files)
        why = "; ".join(f"{count} {reason}" for reason, count in corpus.dropped.items())
        raise DataError(
            names, f"no sentence pair is left of {seen} ({why or 'the files are empty'})"
        )
    return corpus


def check_file(key: str, section: CorpusFileSection) -> None:
    """Check a file's prompt, how often an epoch shall see its sentences, and how many to spoil.

    Args:
        key: where the file stands in the recipe, for errors.
        section: the file.

    Raises:
        ConfigError: a prompt without its one gap; a weight that is not above 0, or above
            :data:`MOST_WEIGHT`; a share that is not between 0 and 1.
    """
    try:
        if section.template is not None:
            PromptTemplate(section.template)
        between("weight", section.weight, 0.0, MOST_WEIGHT, open_low=True)
        if section.noise is not None:
            _check_noise(section.noise)
    except ConfigError as error:
        raise error.within(key) from None


def _check_noise(noise: Noise) -> None:
    try:
        check_noise(noise)
    except ConfigError as error:
        raise error.within("noise") from None


def _too_long(
    sequences: Mapping[str, int], model_tokens: Mapping[str, Sequence[int]]
) -> tuple[str, str | None]:
    """Which sequence no model could read, and why."""
    for name, longest in model_tokens.items():
        for (subject, tokens), most in zip(sequences.items(), longest, strict=True):
            if tokens > most:
                return subject, f"longer than the {most} tokens that the {name} takes"
    return "", None


def _why_dropped(
    pair: SentencePair,
    prompt: list[int],
    target: list[int],
    source_name: str,
    max_source_tokens: int | None,
    max_target_tokens: int | None,
) -> str | None:
    if not pair.source.strip():
        return "source is empty"
    if not pair.target.strip():
        return "target is empty"
    if max_source_tokens is not None and len(prompt) > max_source_tokens:
        return f"{source_name} longer than {max_source_tokens} tokens"
    if max_target_tokens is not None and len(target) > max_target_tokens:
        return f"target longer than {max_target_tokens} tokens"
    return None


def collate(corpus: EncodedCorpus, examples: Sequence[int], pad_index: int) -> SequenceBatch:
    """Examples as one padded batch ``[B, S]`` whose target mask is True on target tokens only."""
    sequences = [corpus.prompts[example] + corpus.targets[example] for example in examples]
    lengths = [len(sequence) for sequence in sequences]
    width = max(lengths)
    seqs = torch.full((len(sequences), width), pad_index, dtype=torch.int64)
    mask = torch.zeros((len(sequences), width), dtype=torch.bool)
    for row, (example, sequence) in enumerate(zip(examples, sequences, strict=True)):
        seqs[row, : len(sequence)] = torch.tensor(sequence)
        mask[row, len(corpus.prompts[example]) : len(sequence)] = True
    return SequenceBatch(
        seqs, lengths, target_mask=mask, example=[corpus.places[example] for example in examples]
    )


def prompt_tensor(corpus: EncodedCorpus, example: int) -> Tensor:
    """One example's prompt as ids ``[S]``."""
    return torch.tensor(corpus.prompts[example], dtype=torch.int64)
