"""The sentences that a run has left out: listed in its folder, counted, and limited."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from fairseq2.gang import Gangs, ReduceOperation
from fairseq2.logging import log

from sekd_plugin.toolkits.fairseq2.batch_form import Batch, BatchForm
from sekd_plugin.toolkits.fairseq2.faults.counts import FaultCounts
from sekd_plugin.toolkits.fairseq2.faults.non_finite_step import NonFiniteStepError
from sekd_plugin.toolkits.fairseq2.faults.places import in_words, places_of
from sekd_plugin.toolkits.fairseq2.faults.sound_sentences import SkippedSentence
from sekd_plugin.toolkits.fairseq2.faults.target_count import TargetCount
from sekd_plugin.toolkits.fairseq2.lost_records import drop_lost_records


class SkippedList:
    """Writes ``skipped/rank_N.jsonl``, a JSON object a sentence, and keeps to ``max_skipped``.

    Every rank asks it once for each of its batches, also for one that is whole.
    """

    def __init__(self, folder: Path, gangs: Gangs, max_skipped: int, counts: FaultCounts) -> None:
        """Where the list lies, and what it is held against.

        Args:
            folder: the run's.
            gangs: which data-parallel rank this is; of ranks that divide a model, one writes.
            max_skipped: the most sentences that a run may leave out, over all ranks.
            counts: what the run has counted so far.
        """
        self._folder = folder / "skipped"
        self._gangs = gangs
        self._max_skipped = max_skipped
        self._counts = counts
        self._step_nr = 0
        self._step_targets = 0

    def begin_step(self, step_nr: int) -> None:
        """A step begins; before a process's first, the sentences of steps that were lost go."""
        if self._step_nr == 0:
            for file in self._own_files():
                drop_lost_records(file, step_nr - 1, key="step")
        self._step_nr = step_nr
        self._step_targets = 0

    def account(self, batch: Batch, skipped: Sequence[SkippedSentence], num_targets: int) -> int:
        """Put down what was left out of a batch.

        Args:
            batch: the batch, whole.
            skipped: its sentences that were left out.
            num_targets: how many target tokens the others have.

        Returns:
            ``num_targets``, as it must be given to fairseq2.

        Raises:
            NonFiniteStepError: the run has left out more than it may; nothing was learnt from
                this batch.
        """
        self._write(batch, skipped)
        skipped_by_all, targets_of_all = self._over_ranks(len(skipped), num_targets)
        self._step_targets += targets_of_all
        self._counts.num_skipped += skipped_by_all
        if self._counts.num_skipped > self._max_skipped:
            raise NonFiniteStepError(
                f"step {self._step_nr}: faults.max_skipped is {self._max_skipped}, and "
                f"{self._counts.num_skipped} sentences have been left out by now; they are listed "
                f"in {self._folder}"
            )
        if self._gangs.dp.size > 1 and self._step_targets > 0:
            return TargetCount(num_targets)
        return num_targets

    def _own_files(self) -> list[Path]:
        """What this rank alone writes; the first rank has the files of those that are no more."""
        own, ranks = self._gangs.dp.rank, self._gangs.dp.size
        if self._gangs.tp.rank != 0:
            return []
        found = [self._file_of(own)]
        if own == 0:
            found += [file for file in self._folder.glob("rank_*.jsonl") if _rank_of(file) >= ranks]
        return [file for file in found if file.exists()]

    def _file_of(self, rank: int) -> Path:
        return self._folder / f"rank_{rank}.jsonl"

    def _write(self, batch: Batch, skipped: Sequence[SkippedSentence]) -> None:
        if not skipped:
            return
        warn_of(batch, skipped, f"step {self._step_nr}")
        places = places_of(batch)
        records = []
        for sentence in skipped:
            file, line = places[sentence.row]
            record = {"step": self._step_nr, "file": str(file), "line": line}
            records.append(json.dumps(record | {"reason": sentence.reason}, ensure_ascii=False))
        if self._gangs.tp.rank == 0:
            self._folder.mkdir(parents=True, exist_ok=True)
            with self._file_of(self._gangs.dp.rank).open("a", encoding="utf-8") as stream:
                stream.write("".join(f"{record}\n" for record in records))

    def _over_ranks(self, num_skipped: int, num_targets: int) -> tuple[int, int]:
        if self._gangs.dp.size == 1:
            return num_skipped, num_targets
        sums = torch.tensor([num_skipped, num_targets], device=self._gangs.device)
        self._gangs.dp.all_reduce(sums, ReduceOperation.SUM)
        return int(sums[0]), int(sums[1])


def _rank_of(file: Path) -> int:
    digits = file.stem.removeprefix("rank_")
    return int(digits) if digits.isdecimal() else -1


def warn_of(batch: Batch, skipped: Sequence[SkippedSentence], when: str) -> None:
    """Say in the log which sentences of a batch were left out, and why."""
    places = places_of(batch)
    for sentence in skipped:
        where = in_words([places[sentence.row]])
        log.warning("{}: {} on {}; it is left out", when, sentence.reason, where)


def without_targets_of(
    batch: Batch, skipped: Sequence[SkippedSentence], batches: BatchForm
) -> Batch:
    """The batch as it was learnt from: sentences that were left out have no target token."""
    if not skipped or batch.target_mask is None:
        return batch
    rows = torch.tensor([sentence.row for sentence in skipped], device=batch.target_mask.device)
    return batches.masked(batch, batch.target_mask.index_fill(0, rows, False))
