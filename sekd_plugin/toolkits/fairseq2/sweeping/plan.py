"""The runs of a sweep, and what can be found wrong with them before the first one starts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

from fairseq2.runtime.dependency import DependencyResolver

from sekd_plugin.errors import ConfigError, SekdError
from sekd_plugin.memory.plan import make_plan
from sekd_plugin.sweep.expansion import Row, Trial, laid_over, settings_of_run
from sekd_plugin.sweep.layout import run_key
from sekd_plugin.sweep.settings import HalvingSection
from sekd_plugin.toolkits.fairseq2.output_folder import check_export
from sekd_plugin.toolkits.fairseq2.pair_encoding import asked_by_default
from sekd_plugin.toolkits.fairseq2.plan_settings import plan_settings
from sekd_plugin.toolkits.fairseq2.preflight import check_recipe
from sekd_plugin.toolkits.fairseq2.recipe_loading import load_recipe
from sekd_plugin.toolkits.fairseq2.sections import TrainingConfig
from sekd_plugin.toolkits.fairseq2.sweeping.sweep_file import SweepFile


@dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """A trial with a seed."""

    row: str
    """The row that it belongs to."""

    trial: str
    """The trial."""

    seed: int
    """The seed."""

    recipe: Mapping[str, Any]
    """All that it is trained from, but for the defaults."""

    @property
    def key(self) -> str:
        """Its name."""
        return run_key(self.trial, self.seed)

    @property
    def num_steps(self) -> int | None:
        """How long it trains by its recipe; None where that is counted in epochs."""
        regime = self.recipe.get("regime")
        steps = regime.get("num_steps") if isinstance(regime, Mapping) else None
        return steps if isinstance(steps, int) else None


def planned_runs(sweep: SweepFile) -> dict[str, list[PlannedRun]]:
    """Trial → its runs, in the order of the seeds."""
    return {
        trial.name: [_run(sweep, row, trial, seed) for seed in sweep.settings.seeds]
        for row in sweep.rows
        if not row.is_choice
        for trial in row.trials
    }


def _run(sweep: SweepFile, row: Row, trial: Trial, seed: int) -> PlannedRun:
    recipe = laid_over(sweep.recipe, settings_of_run(trial, seed))
    # Through JSON, so that it is what a record of it will be read as.
    plain = json.loads(json.dumps(recipe, default=str))
    return PlannedRun(row=row.name, trial=trial.name, seed=seed, recipe=plain)


def check_run(
    run: PlannedRun, folder: Path, halving: HalvingSection | None, resolver: DependencyResolver
) -> TrainingConfig:
    """Check a run as ``sekd train`` would, and that a sweep can choose by it.

    Args:
        run: the run.
        folder: where it will be trained.
        halving: when trials of its row are given up, if they are.
        resolver: knows fairseq2's components.

    Raises:
        SekdError: what is wrong, with the run's name.
    """
    try:
        config = load_recipe(None, [run.recipe])
        check_recipe(config, resolver)
        check_export(folder, config)
        _check_choosing(config)
        if halving is not None:
            _check_halving(config, halving)
    except SekdError as error:
        raise SekdError(f"row {run.trial}, seed {run.seed}: {error}") from None
    return config


def _check_choosing(config: TrainingConfig) -> None:
    regime = config.regime
    if regime.score_metric != "bleu":
        raise ConfigError(
            "regime.score_metric",
            f"is {regime.score_metric}; a sweep chooses by it and needs bleu, with "
            "translation.bleu: true",
        )
    own = [file.template for file in config.dataset.train]
    if asked_by_default(own, config.dataset.template) is None:
        raise ConfigError(
            "dataset.train",
            "its files have several prompts; a sweep scores one direction, so one file must have "
            "dataset.template",
        )
    if not config.dataset.valid:
        raise ConfigError("dataset.valid", "is empty; a sweep chooses by BLEU on it")
    if regime.keep_last_n_checkpoints is not None and regime.keep_best_n_checkpoints is None:
        raise ConfigError(
            "regime.keep_best_n_checkpoints",
            "must be 1 or more where keep_last_n_checkpoints is set, or the best one is lost",
        )
    if regime.save_model_only in (True, "all"):
        raise ConfigError("regime.save_model_only", "must be false: runs of a sweep are resumed")


def _check_halving(config: TrainingConfig, halving: HalvingSection) -> None:
    regime = config.regime
    every = regime.validate_every_n_steps
    for step in halving.steps:
        if every is None or step % every or step <= regime.validate_after_n_steps:
            raise ConfigError(
                "regime.validate_every_n_steps",
                f"is {every}; the run must be validated at step {step} of the halving",
            )
        if regime.num_steps is None or step >= regime.num_steps:
            raise ConfigError(
                "regime.num_steps", f"is {regime.num_steps}; it must be more than halving's {step}"
            )


def check_comparable(runs: Sequence[PlannedRun]) -> None:
    """Check that the trials of a row can be compared with each other on the validation set.

    Args:
        runs: the runs of all its trials, trained or not.

    Raises:
        SekdError: two of a seed are validated on other data, or translate it in another way.
    """
    firsts: dict[int, PlannedRun] = {}
    for run in runs:
        first = firsts.setdefault(run.seed, run)
        for key in ("dataset.valid", "translation"):
            if _given(first, key) == _given(run, key):
                continue  # what is left to defaults is the same then too
            one, two = (attrgetter(key)(load_recipe(None, [each.recipe])) for each in (first, run))
            if one != two:
                raise SekdError(
                    f"row {run.trial}: {key} differs from that of {first.trial}; trials of one "
                    "row are compared by BLEU on the same validation set"
                )


def _given(run: PlannedRun, key: str) -> object:
    """What a run's recipe says at a dotted key."""
    found: object = run.recipe
    for part in key.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def largest_bytes(configs: Iterable[TrainingConfig], resolver: DependencyResolver) -> int:
    """What the largest of the runs takes on a CPU by the memory plan; 0 where that says nothing."""
    sizes = [0]
    for config in configs:
        try:
            plan = make_plan(plan_settings(config, resolver, devices=1, on_gpu=False))
        except ConfigError:
            continue  # a model that only its card describes
        sizes.append(plan.peak.total)
    return max(sizes)
