"""The parallel corpus as token ids: read, encoded, measured, and what was dropped counted."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from fairseq2.data.tokenizers import Tokenizer
from fairseq2.datasets import SequenceBatch
from torch import Tensor

from sekd_plugin.checks import between
from sekd_plugin.corpus import PromptTemplate, SentencePair, read_pairs
from sekd_plugin.corpus.noise import Noise, add_noise, check_noise
from sekd_plugin.errors import ConfigError, DataError
from sekd_plugin.toolkits.fairseq2.prompts import encode_prompt, encode_target
from sekd_plugin.toolkits.fairseq2.sections import CorpusFileSection

MOST_WEIGHT = 1000.0
"""The most often that an epoch may see a sentence."""


@dataclass(kw_only=True)
class EncodedCorpus:
    """Sentence pairs as token ids, in the order of the files."""

    prompts: list[list[int]] = field(default_factory=list)
    """Prompt ids of each example, the beginning-of-sequence token included."""

    targets: list[list[int]] = field(default_factory=list)
    """Target ids of each example, the end-of-sequence token included."""

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
        self.places.append(other.places[example])
        self.weights.append(other.weights[example])

    def chosen(self, examples: Iterable[int]) -> EncodedCorpus:
        """Some examples, in this order, without their text."""
        found = EncodedCorpus()
        for example in examples:
            found.add(self, example)
        return found

    def checksum(self) -> str:
        """What tells this corpus from another: SHA-256 of ids and weights, in their order."""
        total = hashlib.sha256()
        for ids in zip(self.prompts, self.targets, strict=True):
            total.update(json.dumps(ids).encode())
        total.update(json.dumps(self.weights).encode())
        return total.hexdigest()

    def lengths(self) -> list[int]:
        """Tokens of each example, prompt and target together."""
        return [len(p) + len(t) for p, t in zip(self.prompts, self.targets, strict=True)]


def encode_corpus(
    files: Sequence[CorpusFileSection],
    *,
    key: str,
    tokenizer: Tokenizer,
    template: PromptTemplate,
    max_source_tokens: int | None = None,
    max_target_tokens: int | None = None,
    model_tokens: Mapping[str, int] | None = None,
    drop_long: bool = True,
    keep_text: bool = False,
) -> EncodedCorpus:
    """Read and encode files of sentence pairs.

    Args:
        files: the files, with their fields and weights.
        key: the setting that named them, for errors.
        tokenizer: the vocabulary.
        template: the prompt.
        max_source_tokens: pairs with a longer prompt are dropped; None keeps all.
        max_target_tokens: likewise for the target with its end.
        model_tokens: the models that read the pairs, and the longest sequence each takes.
        drop_long: whether a pair too long for a model is dropped, or refused.
        keep_text: whether to keep the sentences themselves.

    Raises:
        DataError: a file or line that cannot be read, a pair that is too long and not dropped,
            or no pair is left.
        ConfigError: a weight or a noise that cannot be used.
    """
    corpus = EncodedCorpus()
    seen = 0
    for number, section in enumerate(files):
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
            seen += 1
            prompt = encode_prompt(tokenizer, template, pair.source)
            target = encode_target(tokenizer, pair.target)
            reason = _why_dropped(pair, prompt, target, max_source_tokens, max_target_tokens)
            if reason is None:
                reason = _too_long(len(prompt) + len(target) - 1, model_tokens or {})
                if reason is not None and not drop_long:
                    raise DataError(pair.file, f"prompt and translation are {reason}", pair.line)
            if reason is not None:
                corpus.dropped[reason] = corpus.dropped.get(reason, 0) + 1
                continue
            corpus.prompts.append(prompt)
            corpus.targets.append(target)
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
    """Check how often an epoch shall see a file's sentences, and how many are to be spoilt.

    Args:
        key: where the file stands in the recipe, for errors.
        section: the file.

    Raises:
        ConfigError: a weight that is not above 0, or above :data:`MOST_WEIGHT`; a share that is
            not between 0 and 1.
    """
    try:
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


def _too_long(tokens: int, model_tokens: Mapping[str, int]) -> str | None:
    """Why no model could read an example; its last token is only predicted, never read."""
    for name, most in model_tokens.items():
        if tokens > most:
            return f"longer than the {most} tokens that the {name} takes"
    return None


def _why_dropped(
    pair: SentencePair,
    prompt: list[int],
    target: list[int],
    max_source_tokens: int | None,
    max_target_tokens: int | None,
) -> str | None:
    if not pair.source.strip():
        return "source is empty"
    if not pair.target.strip():
        return "target is empty"
    if max_source_tokens is not None and len(prompt) > max_source_tokens:
        return f"prompt longer than {max_source_tokens} tokens"
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
