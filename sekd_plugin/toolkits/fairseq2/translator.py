"""A trained model with its vocabulary and prompt, ready to translate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from fairseq2.data.tokenizers import Tokenizer
from torch.nn import Module

from sekd_plugin.errors import ConfigError
from sekd_plugin.progress import Progress, SilentProgress
from sekd_plugin.toolkits.fairseq2.model_kind import ModelKind
from sekd_plugin.toolkits.fairseq2.pair_encoding import PairEncoding
from sekd_plugin.toolkits.fairseq2.search import MAX_LENGTH_RATIO
from sekd_plugin.toolkits.fairseq2.vocabulary import padding_index


@dataclass(frozen=True, kw_only=True)
class DecodingOptions:
    """How to search for a translation."""

    beam_size: int = 1
    """1 is greedy."""

    length_penalty: float = 1.0
    """The power of the length that a hypothesis's log-probability is divided by."""

    max_target_tokens: int = 256
    """Where a translation without an end is cut off, at the latest."""

    max_target_ratio: float = MAX_LENGTH_RATIO
    """It is cut off, too, at ten words more than so many times the length of its prompt, or source,
    in tokens."""

    batch_tokens: int = 8192
    """The most of these tokens in a batch; it changes speed and memory only."""


@dataclass(frozen=True, kw_only=True)
class Translator:
    """A model that translates sentences."""

    model: Module
    """The model, in evaluation mode."""

    kind: ModelKind
    """What kind of model it is."""

    tokenizer: Tokenizer
    """Its vocabulary."""

    encoding: PairEncoding
    """The prompt it was trained with, or the languages."""

    checkpoint: Path
    """The folder its weights were read from."""

    vocabulary: Path
    """What the tokenizer was read from."""

    device: torch.device
    """Where it runs."""

    def translate(
        self,
        sources: Sequence[str],
        options: DecodingOptions | None = None,
        progress: Progress | None = None,
    ) -> list[str]:
        """Translate sentences, in order; an empty one stays empty.

        Raises:
            SekdError: a sentence is too long for the model; it names the sentence.
        """
        options = options or DecodingOptions()
        full = [number for number, source in enumerate(sources) if source.strip()]
        encoded = [
            torch.tensor(self.encoding.encode_source(sources[number]), device=self.device)
            for number in full
        ]
        info = self.tokenizer.vocab_info
        if info.eos_idx is None:
            raise ConfigError("tokenizer", "has no end-of-sequence piece")
        ticks = iter((progress or SilentProgress()).track(range(len(full)), "sentences", len(full)))
        found = self.kind.translate(
            self.model,
            encoded,
            [self.encoding.prefix] * len(encoded),
            eos_index=info.eos_idx,
            pad_index=padding_index(self.tokenizer),
            max_length=options.max_target_tokens,
            beam_size=options.beam_size,
            max_length_ratio=options.max_target_ratio,
            length_penalty=options.length_penalty,
            banned=[] if info.bos_idx is None else [info.bos_idx],
            batch_tokens=options.batch_tokens,
            names=[f"sentence {number + 1}" for number in full],
            progress=lambda count: [next(ticks, None) for _ in range(count)],
        )
        next(ticks, None)
        decode = self.tokenizer.create_decoder(skip_special_tokens=True)
        translations = [""] * len(sources)
        for number, ids in zip(full, found, strict=True):
            text = decode(torch.tensor(ids, dtype=torch.int64))
            translations[number] = " ".join(text.split())
        return translations
