"""Scoring a run of a sweep on the test set, by ``sekd evaluate``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sekd_plugin.checksum import sha256_of_file
from sekd_plugin.corpus import SentencePair, read_pairs
from sekd_plugin.errors import DataError
from sekd_plugin.programs.process import Command
from sekd_plugin.sweep.layout import Layout
from sekd_plugin.sweep.settings import EvaluationSection


class TestSet:
    """The sentences that runs are reported on."""

    __test__ = False  # no test of pytest's

    def __init__(self, section: EvaluationSection) -> None:
        """Read them.

        Raises:
            DataError: the file cannot be used, or is empty.
        """
        self.section = section
        self.pairs: list[SentencePair] = list(
            read_pairs(
                section.path,
                target_path=section.target_path,
                source_field=section.source_field,
                target_field=section.target_field,
            )
        )
        if not self.pairs:
            raise DataError(section.path, "is empty; the test set needs sentences")
        files = [each for each in (section.path, section.target_path) if each is not None]
        self._digests = [sha256_of_file(file) for file in files]

    @property
    def references(self) -> list[str]:
        """The references."""
        return [pair.target for pair in self.pairs]

    def origin(self, step: int) -> Mapping[str, Any]:
        """What the scores of a run's checkpoint are made from, as JSON."""
        section = self.section
        return {
            "test": self._digests,
            "fields": [section.source_field, section.target_field],
            "beam_size": section.beam_size,
            "step": step,
        }

    def is_scored(
        self, layout: Layout, run: str, scored: Mapping[str, Any] | None, step: int
    ) -> bool:
        """Whether a run's scores are of this checkpoint and test set, and still there.

        Args:
            layout: the sweep's folder.
            run: the run.
            scored: what its scores were made from, by its record.
            step: the step of the checkpoint.
        """
        files = (layout.scores(run), layout.translations(run))
        return scored == self.origin(step) and all(file.is_file() for file in files)

    def command(self, layout: Layout, run: str, step: int) -> Command:
        """What scores a run's checkpoint."""
        section = self.section
        target: tuple[str, ...] = ()
        if section.target_path is not None:
            target = ("--target-file", str(section.target_path))
        kept = layout.translations(run)
        return (
            "evaluate",
            str(section.path),
            *target,
            "--source-field",
            section.source_field,
            "--target-field",
            section.target_field,
            "--system",
            f"{kept.stem}={layout.run(run)}@step_{step}",
            "--beam-size",
            str(section.beam_size),
            "--translations",
            str(kept.parent),
            "--output",
            str(layout.scores(run)),
        )


def clear_scores(layout: Layout, run: str, *, translations: bool) -> None:
    """Make room for scores; translations stay unless they are of something else."""
    layout.scores(run).unlink(missing_ok=True)
    if translations:
        kept = layout.translations(run)
        kept.unlink(missing_ok=True)
        kept.with_suffix(".json").unlink(missing_ok=True)


def read_scores(file: Path) -> tuple[dict[str, float], dict[str, str]]:
    """Scores and signatures by metric, as ``sekd evaluate`` has written them.

    Raises:
        DataError: they are damaged.
    """
    try:
        (system,) = json.loads(file.read_text(encoding="utf-8"))["systems"]
        scores = {each["metric"]: float(each["value"]) for each in system["scores"]}
        return scores, {each["metric"]: str(each["signature"]) for each in system["scores"]}
    except (ValueError, KeyError, TypeError):
        raise DataError(
            file, "holds no scores; it is damaged: remove it, and the sweep scores again"
        ) from None
