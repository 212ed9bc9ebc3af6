"""Dividing pairs into train, valid and test so that no held-out sentence is trained on."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TextIO

from sekd_plugin.corpus.clean import clean_text, comparison_key, text_hash
from sekd_plugin.corpus.filters import Duplicates, Reason, source_number, unfit
from sekd_plugin.corpus.holdout import HoldoutSample
from sekd_plugin.corpus.sentence_pair import SentencePair
from sekd_plugin.corpus.settings import PreparationSettings
from sekd_plugin.errors import SekdError

WITHHELD = {"test": Reason.IN_TEST, "valid": Reason.IN_VALID}
"""The held-out splits, and why training leaves their sources out."""

_PLACES_SHOWN = 3


class Splits:
    """Writes ``train.jsonl``, ``valid.jsonl`` and ``test.jsonl`` into a folder, and keeps count.

    First every given held-out set is copied, the test before the validation set, then the rest
    of them is chosen among the training pairs, and last those are divided. Memory: a few
    numbers for each pair, no text.
    """

    def __init__(self, folder: Path, settings: PreparationSettings) -> None:
        self._folder = folder
        self._settings = settings
        self._withheld: dict[int, Reason] = {}
        self._awaited: dict[int, str] = {}
        self.read: Counter[str] = Counter()
        self.kept: Counter[str] = Counter()
        self.dropped: dict[str, dict[str, dict[str, Any]]] = {}

    def copy_held_out(self, split: str, pairs: Iterable[SentencePair]) -> None:
        """Write a given test or validation set, whatever its lengths and repetitions.

        A validation sentence that is in the test too is dropped, and so is an empty side.

        Raises:
            SekdError: nothing is left.
        """
        numbers: set[int] = set()
        with self._open(split) as stream:
            for pair in pairs:
                self.read[split] += 1
                source, target = clean_text(pair.source), clean_text(pair.target)
                number = source_number(source)
                reason = self._withheld.get(number) if source and target else Reason.EMPTY
                if reason:
                    self._drop(split, reason, pair)
                    continue
                self._write(stream, split, source, target)
                numbers.add(number)
        if not numbers:
            raise SekdError(f"the {split} files hold no pair that can be used")
        self._withheld |= dict.fromkeys(numbers, WITHHELD[split])

    def choose_held_out(self, sizes: dict[str, int], pairs: Iterable[SentencePair]) -> None:
        """Choose at random which training sources make up the splits that were not given.

        Raises:
            SekdError: so few are fit that none would be left for training.
        """
        sample = HoldoutSample(sum(sizes.values()) + 1)
        for pair in pairs:
            source, target = clean_text(pair.source), clean_text(pair.target)
            number = source_number(source)
            if unfit(source, target, self._settings) is None and number not in self._withheld:
                sample.offer(number, text_hash(comparison_key(source), seed=self._settings.seed))
        chosen = sample.chosen()
        if len(chosen) <= sum(sizes.values()):
            wanted = " and ".join(f"{size} for {split}" for split, size in sizes.items())
            raise SekdError(
                f"only {len(chosen)} different source sentences are fit for use, too few to hold "
                f"out {wanted} and train on the rest; ask for fewer or give files for them"
            )
        for split, size in sizes.items():
            self._awaited |= dict.fromkeys(chosen[:size], split)
            del chosen[:size]

    def divide(self, pairs: Iterable[SentencePair]) -> None:
        """Write each training pair to the split it belongs to, or drop it.

        Raises:
            SekdError: nothing is left to train on.
        """
        duplicates = Duplicates()
        with ExitStack() as stack:
            names = dict.fromkeys(("train", *self._awaited.values()))
            streams = {split: stack.enter_context(self._open(split)) for split in names}
            for pair in pairs:
                self.read["train"] += 1
                source, target = clean_text(pair.source), clean_text(pair.target)
                reason = unfit(source, target, self._settings)
                if reason is None:
                    number = source_number(source)
                    split = self._awaited.pop(number, None)
                    if split:
                        self._withheld[number] = WITHHELD[split]
                        self._write(streams[split], split, source, target)
                        continue
                    reason = self._withheld.get(number)
                if reason is None and not duplicates.is_new(source, target):
                    reason = Reason.DUPLICATE
                if reason is None:
                    self._write(streams["train"], "train", source, target)
                else:
                    self._drop("train", reason, pair)
        if not self.kept["train"]:
            reasons = self.dropped.get("train", {})
            listed = ", ".join(f"{reason}: {entry['pairs']}" for reason, entry in reasons.items())
            raise SekdError(f"no pair is left to train on; dropped were {listed}")

    def _open(self, split: str) -> TextIO:
        return (self._folder / f"{split}.jsonl").open("w", encoding="utf-8", newline="\n")

    def _write(self, stream: TextIO, split: str, source: str, target: str) -> None:
        self.kept[split] += 1
        stream.write(json.dumps({"src": source, "tgt": target}, ensure_ascii=False) + "\n")

    def _drop(self, split: str, reason: Reason, pair: SentencePair) -> None:
        entry = self.dropped.setdefault(split, {}).setdefault(reason, {"pairs": 0, "first": []})
        entry["pairs"] += 1
        if len(entry["first"]) < _PLACES_SHOWN:
            entry["first"].append(f"{pair.file.name}, line {pair.line}")
