"""Which criterion is asked how difficult a token is, and with which divergences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from sekd_plugin.analysis.difficulty.analysis import Choice
from sekd_plugin.base_criterion import criteria
from sekd_plugin.baselines import WordKD
from sekd_plugin.construction import settings_of
from sekd_plugin.criterion import SelfEvolutionKD
from sekd_plugin.divergences import divergences
from sekd_plugin.errors import ConfigError
from sekd_plugin.toolkits.fairseq2.analyzing.subject import COMPARED, Subject
from sekd_plugin.toolkits.fairseq2.sections import TrainingConfig


@dataclass(frozen=True, kw_only=True)
class AskedCriterion:
    """A criterion that has difficulties, with its choices as a recipe names them."""

    criterion: SelfEvolutionKD
    """The criterion."""

    note: str | None
    """What to say of it, if it is not the recipe's own."""

    difficulty: Choice
    """Its difficulty."""

    threshold: Choice
    """Its threshold."""


def asked_criterion(config: TrainingConfig) -> AskedCriterion:
    """The recipe's criterion, or the method with what its settings share."""
    name, given = config.criterion.name, config.criterion.config
    made = criteria.create({"name": name, "config": given}, "criterion")
    settings = dict(given) if isinstance(given, Mapping) else {}
    note = None
    if not isinstance(made, SelfEvolutionKD):
        settings = {}
        note = (
            f"the recipe's criterion is {name}, which compares with no teacher; difficulty is that "
            "of self_evolution_kd with its defaults "
            "(others: --config criterion.name=self_evolution_kd criterion.config.…)"
        )
    if not isinstance(made, SelfEvolutionKD) or isinstance(made, WordKD):
        shared = {key: settings[key] for key in settings_of(SelfEvolutionKD) if key in settings}
        made = cast(
            SelfEvolutionKD,
            criteria.create({"name": "self_evolution_kd", "config": shared}, "criterion"),
        )
    own = settings_of(type(made))

    def choice(key: str) -> Choice | None:
        value = settings.get(key)
        return cast(Choice | None, own[key].default if value is None and key in own else value)

    return AskedCriterion(
        criterion=made,
        note=note,
        difficulty=choice("difficulty") or choice("divergence") or "forward_kl",
        threshold=choice("threshold") or "dynamic",
    )


def chosen_measures(subject: Subject, asked: AskedCriterion) -> dict[str, Choice]:
    """The criterion's own difficulty, then the others that can be measured with its λ.

    Raises:
        ConfigError: a divergence is not known, or is infinite there.
    """
    found = {shown_name(asked.difficulty): asked.difficulty}
    named = [choice for choice in subject.divergences if choice != "all"]
    chosen: list[Choice] = list(subject.divergences or COMPARED)
    if "all" in chosen:
        chosen = [*named, *_with_defaults()]
    for choice in chosen:
        made = divergences.create(choice, "--divergence")
        if made.infinite_on_zero_target and not asked.criterion.needs_teacher:
            if choice in named:
                raise ConfigError(
                    "--divergence",
                    f"{shown_name(choice)} is infinite against a one-hot target; it needs "
                    "criterion.config.teacher_weight above 0",
                )
            continue
        found.setdefault(shown_name(choice), choice)
    return found


def shown_name(choice: Choice) -> str:
    """How a strategy is called in tables: its name, and its settings in brackets."""
    if isinstance(choice, str):
        return choice
    config = choice.get("config") or {}
    if not isinstance(config, Mapping) or not config:
        return str(choice.get("name"))
    settings = ", ".join(f"{key} {value}" for key, value in config.items())
    return f"{choice.get('name')} ({settings})"


def _with_defaults() -> list[str]:
    """Every divergence there is that needs no settings."""
    found = []
    for name in divergences.names():
        try:
            divergences.create(name, "--divergence")
        except ConfigError:
            continue
        found.append(name)
    return found
