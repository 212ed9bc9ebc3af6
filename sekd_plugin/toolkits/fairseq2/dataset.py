"""The parallel corpus as token ids: read, encoded, measured, and what was dropped counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from fairseq2.data.tokenizers import Tokenizer
from fairseq2.datasets import SequenceBatch
from torch import Tensor

from sekd_plugin.corpus import PromptTemplate, SentencePair, read_pairs
from sekd_plugin.errors import ConfigError, DataError
from sekd_plugin.toolkits.fairseq2.prompts import encode_prompt, encode_target
from sekd_plugin.toolkits.fairseq2.sections import CorpusFileSection


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
        keep_text: whether to keep the sentences themselves.

    Raises:
        DataError: a file or line that cannot be read, or no pair is left.
    """
    corpus = EncodedCorpus()
    seen = 0
    for number, section in enumerate(files):
        if not section.weight > 0.0:
            raise ConfigError(f"{key}.{number}.weight", f"{section.weight!r} must be above 0")
        pairs = read_pairs(
            section.path,
            target_path=section.target_path,
            source_field=section.source_field,
            target_field=section.target_field,
        )
        for pair in pairs:
            seen += 1
            prompt = encode_prompt(tokenizer, template, pair.source)
            target = encode_target(tokenizer, pair.target)
            reason = _why_dropped(pair, prompt, target, max_source_tokens, max_target_tokens)
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
