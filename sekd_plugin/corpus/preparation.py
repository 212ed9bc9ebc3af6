"""From parallel files to clean, leak-free splits and a vocabulary."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sekd_plugin.checksum import sha256_of_file
from sekd_plugin.corpus.broken_lines import RECORD, BrokenLines, OnBroken, refuse
from sekd_plugin.corpus.length_statistics import measure_lengths
from sekd_plugin.corpus.pairs import read_pairs
from sekd_plugin.corpus.report import SPLITS, PreparationReport
from sekd_plugin.corpus.result_folder import (
    REPORT,
    disk_errors_named,
    finished_report,
    partial_folder,
)
from sekd_plugin.corpus.sentence_pair import SentencePair
from sekd_plugin.corpus.settings import PreparationSettings
from sekd_plugin.corpus.splits import WITHHELD, Splits
from sekd_plugin.corpus.text_lines import content_of, read_raw_lines
from sekd_plugin.corpus.vocabulary import (
    BOS_ID,
    EOS_ID,
    PAD_ID,
    UNK_ID,
    template_parts,
    train_vocabulary,
)
from sekd_plugin.errors import SekdError
from sekd_plugin.progress import Progress, SilentProgress

if TYPE_CHECKING:
    from sentencepiece import SentencePieceProcessor

VOCABULARY = "vocabulary.model"
_NAMES = frozenset(
    {VOCABULARY, "vocabulary.vocab", REPORT, RECORD} | {f"{split}.jsonl" for split in SPLITS}
)

# To be raised when the same inputs and settings come to give another result.
_VERSION = 2


@dataclass(frozen=True)
class PairFiles:
    """One input of a preparation."""

    path: Path
    """A file of pairs, or the source side of two parallel files."""

    target_path: Path | None = None
    """The target side of two parallel files."""


@dataclass(frozen=True, kw_only=True)
class CorpusFiles:
    """The inputs of a preparation."""

    train: Sequence[PairFiles]
    """One or more; what is held out is taken from these."""

    valid: PairFiles | None = None
    """Validation pairs, or None to hold some out."""

    test: PairFiles | None = None
    """Test pairs, or None to hold some out."""

    def by_split(self) -> dict[str, Sequence[PairFiles]]:
        """Split → its inputs, none for a split that is to be held out."""
        single = {"valid": self.valid, "test": self.test}
        held_out = {split: [files] if files else [] for split, files in single.items()}
        return {"train": self.train, **held_out}


def prepare_corpus(
    folder: Path,
    files: CorpusFiles,
    settings: PreparationSettings,
    progress: Progress | None = None,
) -> tuple[PreparationReport, bool]:
    """Make ``folder`` with the splits, the vocabulary and ``report.json``; return the report.

    The work is done in ``NAME.partial`` beside it, renamed at the end. If ``folder`` is the
    finished result of the same inputs and settings already, nothing is done and the second
    value is False.

    Raises:
        SekdError: bad input, or ``folder`` holds anything else.
    """
    progress = progress or SilentProgress()
    if folder.name in ("", "..") or folder.resolve() == Path.cwd():
        raise SekdError(f"{folder}: cannot become the result's folder; name a new one")
    inputs = files.by_split()
    for group in inputs.values():
        for pair_files in group:
            _read(pair_files, settings)
    checksums, num_pairs = _contents(inputs, progress)
    made_from = {"version": _VERSION, "inputs": checksums, "settings": _recorded(settings)}
    finished = finished_report(folder, made_from)
    if finished is not None:
        return PreparationReport(**finished), False
    with disk_errors_named(folder), partial_folder(folder, _NAMES) as partial:
        with BrokenLines(partial / RECORD, settings.max_broken_share) as broken:
            splits = _split(partial, inputs, num_pairs, settings, progress, broken)
        vocabulary, processor = _vocabulary(partial, splits.kept["train"], settings, progress)
        kept = {split: splits.kept[split] for split in SPLITS}
        lengths = {
            split: measure_lengths(
                progress.track(
                    read_pairs(partial / f"{split}.jsonl"), f"measuring {split}", kept[split]
                ),
                processor,
            )
            for split in SPLITS
            if kept[split]
        }
        report = PreparationReport(
            made_from=made_from,
            read={split: splits.read[split] for split in SPLITS},
            kept=kept,
            dropped=splits.dropped,
            lengths=lengths,
            vocabulary=vocabulary,
            files={
                path.name: {"bytes": path.stat().st_size, "sha256": sha256_of_file(path)}
                for path in sorted(partial.iterdir())
            },
            broken={split: kinds for split, kinds in broken.counts.items() if kinds},
        )
        (partial / REPORT).write_text(report.to_json(), encoding="utf-8")
    return report, True


def _contents(
    inputs: dict[str, Sequence[PairFiles]], progress: Progress
) -> tuple[dict[str, list[str]], Counter[str]]:
    """Split → SHA-256 of each input's lines, whatever its name and compression; and its lines."""
    checksums: dict[str, list[str]] = {}
    num_lines: Counter[str] = Counter()
    for split, group in inputs.items():
        checksums[split] = []
        for pair_files in group:
            for path in (pair_files.path, pair_files.target_path):
                if path is None:
                    continue
                digest = hashlib.sha256()
                lines = 0
                for number, raw in progress.track(read_raw_lines(path), f"checking {path.name}"):
                    digest.update(content_of(raw, number) + b"\n")
                    lines += 1
                checksums[split].append(digest.hexdigest())
                num_lines[split] += lines if path is pair_files.path else 0
    return checksums, num_lines


def _split(
    folder: Path,
    inputs: dict[str, Sequence[PairFiles]],
    num_pairs: Counter[str],
    settings: PreparationSettings,
    progress: Progress,
    broken: BrokenLines,
) -> Splits:
    def pairs(split: str, label: str, *, is_last: bool = True) -> Iterator[SentencePair]:
        on_broken = broken.reading(split, num_pairs[split])
        if is_last:
            on_broken = broken.write_down(split, on_broken)
        read = chain.from_iterable(_read(files, settings, on_broken) for files in inputs[split])
        return progress.track(read, label, num_pairs[split])

    splits = Splits(folder, settings)
    for split in WITHHELD:
        if inputs[split]:
            splits.copy_held_out(split, pairs(split, f"cleaning {split}"))
    wanted = {"test": settings.test_size, "valid": settings.valid_size}
    sizes = {split: size for split, size in wanted.items() if size and not inputs[split]}
    if sizes:
        label = f"choosing {' and '.join(sizes)}"
        splits.choose_held_out(sizes, pairs("train", label, is_last=False))
    splits.divide(pairs("train", "cleaning train"))
    return splits


def _vocabulary(
    folder: Path, num_pairs: int, settings: PreparationSettings, progress: Progress
) -> tuple[dict[str, Any], SentencePieceProcessor]:
    """Train on train.jsonl, or on a random part of it if it is longer than the limit."""
    share = settings.vocabulary_sentences / (2 * num_pairs)
    choice = random.Random(settings.seed)
    prompt = template_parts(settings.template)
    num_sentences = 0

    def sentences() -> Iterator[str]:
        nonlocal num_sentences
        for pair in progress.track(
            read_pairs(folder / "train.jsonl"), "reading train for the vocabulary", num_pairs
        ):
            if choice.random() < share:
                num_sentences += 2
                # As often as the model reads it, so that its words become whole pieces.
                yield from prompt
                yield pair.source
                yield pair.target
        progress.say(f"training the vocabulary on {num_sentences:,} sentences")

    processor = train_vocabulary(sentences(), folder / VOCABULARY, settings)
    facts = {
        "pieces": processor.get_piece_size(),
        "model_type": settings.model_type,
        "trained_on_sentences": num_sentences,
        "unk": UNK_ID,
        "bos": BOS_ID,
        "eos": EOS_ID,
        "pad": PAD_ID,
    }
    return facts, processor


def _recorded(settings: PreparationSettings) -> dict[str, Any]:
    """The settings by which a result is known again."""
    record = asdict(settings)
    if not settings.max_broken_share:
        # Results that were made before there was this setting are known again.
        del record["max_broken_share"]
    return record


def _read(
    files: PairFiles, settings: PreparationSettings, on_broken: OnBroken = refuse
) -> Iterator[SentencePair]:
    return read_pairs(
        files.path,
        target_path=files.target_path,
        source_field=settings.source_field,
        target_field=settings.target_field,
        on_broken=on_broken,
    )
