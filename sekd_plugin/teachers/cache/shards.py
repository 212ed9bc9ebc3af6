"""One file of a cache: some sentences' tokens, packed, with what finds a changed byte."""

from __future__ import annotations

import hashlib
import math
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from sekd_plugin.checksum import sha256_of_file
from sekd_plugin.errors import DataError, SekdError
from sekd_plugin.new_file import mode_of_new_files
from sekd_plugin.teachers.cache.packing import PER_TOKEN, PER_WORD, pack_rows
from sekd_plugin.teachers.cache.plan import CachePlan
from sekd_plugin.teachers.cache.sentences import KEY_BYTES
from sekd_plugin.teachers.likeliest import ListedRows

_DIRECTORY = ("keys", "first_token", "first_word", "checksums")
"""The tensors with one row a sentence; the two in the middle have one more, the end."""

BYTES_PER_SENTENCE = KEY_BYTES + 3 * 8
"""What the directory takes of a sentence."""


@dataclass(frozen=True, kw_only=True)
class ShardSummary:
    """What is written of a file into the cache's index."""

    file: str
    """Its name."""

    num_sentences: int
    """Sentences in it."""

    num_tokens: int
    """Target tokens of these."""

    num_words: int
    """Words that these list, together."""

    num_bytes: int
    """The file's size."""

    sha256: str
    """Of the whole file."""

    directory_sha256: str
    """Of what says where each sentence stands; it is checked whenever the cache is opened."""

    entropy: float
    """The teacher's entropy, in nats, summed over the tokens."""

    tail: float
    """The probability that is not listed, summed over the tokens."""


def write_shard(
    file: Path, keys: Sequence[bytes], sentences: Sequence[ListedRows], plan: CachePlan
) -> None:
    """Write a file of sentences: it is there whole, or not at all.

    Raises:
        SekdError: it cannot be written; nothing is left of it.
    """
    packed = [pack_rows(rows, plan.vocabulary, plan.probability_bits) for rows in sentences]
    tensors = {name: torch.cat([each[name] for each in packed]) for name in PER_TOKEN + PER_WORD}
    tensors["keys"] = torch.frombuffer(bytearray(b"".join(keys)), dtype=torch.uint8).reshape(
        len(keys), KEY_BYTES
    )
    tensors["first_token"] = _starts([each["num_words"].numel() for each in packed])
    tensors["first_word"] = _starts([each["words"].shape[0] for each in packed])
    tensors["checksums"] = torch.tensor([_checksum(each) for each in packed], dtype=torch.int64)
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        save_file(tensors, partial, metadata={"plan": plan.digest()})
        with partial.open("rb+") as stream:
            os.fsync(stream.fileno())
        partial.chmod(mode_of_new_files())
        os.replace(partial, file)
    except (OSError, SafetensorError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise SekdError(f"{file} cannot be written: {reason}") from None
    finally:
        partial.unlink(missing_ok=True)


class Shard:
    """A file of sentences, read where it lies: nothing is loaded before it is asked for."""

    def __init__(self, file: Path) -> None:
        """Open it.

        Raises:
            DataError: it is missing, cut short, or no such file.
        """
        self.file = file
        try:
            with safe_open(file, framework="pt") as opened:
                self.plan_digest = (opened.metadata() or {}).get("plan")
                names: list[str] = opened.keys()
                self._tensors: dict[str, Tensor] = {each: opened.get_tensor(each) for each in names}
        except (OSError, SafetensorError) as error:
            raise DataError(file, f"is damaged or cannot be read: {error}") from None
        if set(self._tensors) != {*PER_TOKEN, *PER_WORD, *_DIRECTORY}:
            raise DataError(file, "is damaged: it does not hold what a teacher cache holds")
        self.first_token = self._tensors["first_token"]
        self.first_word = self._tensors["first_word"]

    @property
    def keys(self) -> Tensor:
        """``[S, 16]`` uint8, the sentences' keys."""
        return self._tensors["keys"]

    def directory_sha256(self) -> str:
        """SHA-256 of what says where each sentence stands."""
        total = hashlib.sha256()
        for name in _DIRECTORY:
            total.update(_bytes_of(self._tensors[name]))
        return total.hexdigest()

    def sentence(self, number: int) -> Mapping[str, Tensor]:
        """A sentence's tokens, packed.

        Raises:
            DataError: they are not the bytes that were written.
        """
        tokens = slice(int(self.first_token[number]), int(self.first_token[number + 1]))
        words = slice(int(self.first_word[number]), int(self.first_word[number + 1]))
        found = {name: self._tensors[name][tokens] for name in PER_TOKEN}
        found |= {name: self._tensors[name][words] for name in PER_WORD}
        if _checksum(found) != int(self._tensors["checksums"][number]):
            raise DataError(
                self.file, f"is damaged: the bytes of its sentence {number} have changed"
            )
        return found

    def sentences(self) -> Iterator[Mapping[str, Tensor]]:
        """All of them, in their order."""
        return map(self.sentence, range(self.keys.shape[0]))

    def summary(self, sha256: str | None = None) -> ShardSummary:
        """What the index says of it, which reads all of it, unless the SHA-256 is known."""
        return ShardSummary(
            file=self.file.name,
            num_sentences=self.keys.shape[0],
            num_tokens=self._tensors["num_words"].numel(),
            num_words=self._tensors["words"].shape[0],
            num_bytes=self.file.stat().st_size,
            sha256=sha256 or sha256_of_file(self.file),
            directory_sha256=self.directory_sha256(),
            # Exact sums: torch's hang on the number of threads, and are to be compared.
            entropy=-math.fsum(self._tensors["negative_entropy"].tolist()),
            tail=math.fsum(map(math.exp, self._tensors["log_tail"].tolist())),
        )


def _starts(lengths: Sequence[int]) -> Tensor:
    return torch.tensor([0, *lengths], dtype=torch.int64).cumsum(0)


def _checksum(packed: Mapping[str, Tensor]) -> int:
    """CRC-32 of a sentence's bytes."""
    total = 0
    for name in PER_TOKEN + PER_WORD:
        total = zlib.crc32(_bytes_of(packed[name]), total)
    return total


def _bytes_of(tensor: Tensor) -> memoryview:
    return tensor.contiguous().view(torch.uint8).numpy().reshape(-1).data
