"""What may stand in a sweep file, with every default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(kw_only=True)
class RowSection:
    """A row of the table, or one for each combination of its ``grid``."""

    settings: Mapping[str, object] = field(default_factory=dict)
    """What this row changes in the recipe: dotted key → value, laid over the sweep's ``settings``.
    ``{seed}`` in a value stands for the seed."""

    grid: Mapping[str, object] = field(default_factory=dict)
    """Dotted key → list of values, or mapping of names to values. Every combination is a row of its
    own. Under ``settings.NAME`` each name stands for a mapping of several dotted keys."""

    tune: Mapping[str, object] = field(default_factory=dict)
    """The same, but every combination is a trial of the same row: the one that is best on the
    validation set, in the mean over seeds, is reported on the test set."""

    choose: list[str] = field(default_factory=list)
    """Other rows, or grids, of whose trials the best one is reported here too: a row that has no
    training of its own, and none of the other keys."""


@dataclass(kw_only=True)
class EvaluationSection:
    """The test set, how it is translated, and how scores on it are compared."""

    path: Path
    """The file: .jsonl, .tsv, or plain text with ``target_path``."""

    target_path: Path | None = None
    """The parallel file of references, for plain text."""

    source_field: str = "src"
    """The field, or column, to translate from."""

    target_field: str = "tgt"
    """The field, or column, of the references."""

    beam_size: int = 1
    """1 is greedy."""

    bootstrap_samples: int = 1000
    """How many test sets are drawn to compare a row with the baseline."""


@dataclass(kw_only=True)
class HalvingSection:
    """Successive halving of a row's trials: most are given up after a part of the steps."""

    steps: list[int]
    """The steps at which the trials of a row are compared on the validation set, rising."""

    keep: float = 0.5
    """The share of the trials that go on each time, rounded up, at least one."""


@dataclass(kw_only=True)
class TableSection:
    """Some of the rows, compared with each other in a table and pictures of their own."""

    rows: list[str]
    """Which, in this order. The name of a grid stands for all its rows. A row may be in several
    tables, and is trained once."""

    baseline: str | None = None
    """The row that the others are compared with; None: the sweep's own."""

    title: str | None = None
    """What stands above it; None: the table's name."""


@dataclass(kw_only=True)
class SweepSettings:
    """A whole sweep file. ``${dir}`` in any of it stands for the folder of the file."""

    recipe: Path
    """The recipe that every run starts from, seen from where the command runs."""

    seeds: list[int]
    """Every trial is trained once with each; it becomes ``common.seed`` unless a row sets that."""

    settings: Mapping[str, object] = field(default_factory=dict)
    """What all runs change in the recipe: dotted key → value. A value replaces all that stands at
    its key. ``{seed}`` in a value stands for the seed."""

    rows: Mapping[str, object]
    """Name → row. Each has ``settings``, ``grid`` and ``tune``, all of them optional."""

    baseline: str | None = None
    """The row that the others are compared with; None compares nothing."""

    tables: Mapping[str, object] = field(default_factory=dict)
    """Name → table of some of the rows, beside the one of all rows."""

    test: EvaluationSection
    """The test set."""

    halving: HalvingSection | None = None
    """Successive halving of rows that have several trials; None trains all to the end."""
