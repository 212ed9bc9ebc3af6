"""A resumed run's metrics files: each step is in them once.

A killed run has reported steps that are lost with it, those after its last checkpoint. Its
successor reports them again.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fairseq2.logging import log
from fairseq2.metrics.recorders import MetricRecorder
from typing_extensions import override

from sekd_plugin.toolkits.fairseq2.lost_records import drop_lost_records


class ResumedMetricRecorder(MetricRecorder):
    """Takes what was lost out of the metrics files, just before the first report of a process.

    Not earlier: a run that turns out not to be resumable keeps every record.
    """

    def __init__(self, recorder: MetricRecorder, folder: Path, last_step: int | None) -> None:
        """Whose reports, and what they follow on.

        Args:
            recorder: what writes the reports; it must open its files at the first one.
            folder: the run's ``metrics`` folder.
            last_step: the step of the checkpoint that the run resumes from; None starts afresh.
        """
        self._recorder = recorder
        self._folder = folder
        self._last_step = last_step
        self._is_clean = False

    @override
    def record_metric_values(
        self, category: str, values: Mapping[str, object], step_nr: int | None = None
    ) -> None:
        if not self._is_clean:
            self._is_clean = True
            for file in sorted(self._folder.rglob("*.jsonl")):
                dropped = drop_lost_records(file, self._last_step)
                if dropped:
                    log.info(
                        "{} record(s) of steps that were lost are taken out of {}.", dropped, file
                    )
        self._recorder.record_metric_values(category, values, step_nr)

    @override
    def close(self) -> None:
        self._recorder.close()
