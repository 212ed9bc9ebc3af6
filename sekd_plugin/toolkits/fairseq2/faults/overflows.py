"""Steps that overflow in fp16."""

from __future__ import annotations

from fairseq2.logging import log

from sekd_plugin.toolkits.fairseq2.batch_form import Batch
from sekd_plugin.toolkits.fairseq2.faults.counts import FaultCounts
from sekd_plugin.toolkits.fairseq2.faults.places import Place, in_words, places_of


class Overflows:
    """Notices steps that fairseq2 gives up, counts them, and says whose sentences are lost.

    Where scaled gradients overflow, fairseq2 halves the scale and does the step of the same number
    again, with the sentences that come next.
    """

    def __init__(self, counts: FaultCounts) -> None:
        """Where they are counted."""
        self._counts = counts
        self._step_nr = 0
        self._places: list[Place] = []

    def begin_step(self, step_nr: int) -> None:
        """A step begins; one of the same number as the last tells that that one overflowed."""
        if step_nr == self._step_nr:
            self._counts.num_overflows += 1
            log.warning(
                "step {}: the gradients overflowed in fp16; the step is done with the next "
                "sentences instead of {}",
                step_nr,
                self.where(),
            )
        self._step_nr = step_nr
        self._places = []

    def add(self, batch: Batch) -> None:
        """A batch of the step."""
        self._places.extend(places_of(batch))

    def where(self) -> str:
        """Files and lines of the step's sentences on this rank."""
        return in_words(sorted(self._places))
