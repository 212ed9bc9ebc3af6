"""A law, the search for its smallest counter-example, and the error that reports it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis.errors import Flaky
from hypothesis.strategies import SearchStrategy
from torch import Tensor

from sekd_plugin.checks import at_least
from sekd_plugin.errors import ConfigError, did_you_mean

S = TypeVar("S")

_SHOWN_NUMBERS = 64


class LawBrokenError(AssertionError):
    """A component breaks a law. The text names both, the smallest example found, and two numbers.

    Attributes:
        component: which component was checked.
        law: the law's name, one of those that the check's docstring lists.
        example: the smallest example that breaks it, as text.
        got: what the component gave.
        expected: what the law asks for.
    """

    def __init__(
        self, *, component: str, law: str, example: str, got: object, expected: object
    ) -> None:
        self.component = component
        self.law = law
        self.example = example
        self.got = got
        self.expected = expected
        super().__init__(
            f"{component} breaks the law “{law}”\n{example}\n"
            f"  got       {got}\n  expected  {expected}"
        )


class BreachError(Exception):
    """Raised inside a law's check: the law is broken on this example."""

    def __init__(self, got: object, expected: object) -> None:
        super().__init__(got, expected)
        self.got = got
        self.expected = expected
        self.example: object = None


@dataclass(frozen=True, kw_only=True)
class Law(Generic[S]):
    """A property that every component of a kind has."""

    name: str
    """What it says, in a few words; it also names the law in ``skip``."""

    examples: SearchStrategy[Any]
    """Where its examples come from: dataclasses, whose fields a report shows."""

    check: Callable[[Callable[[], S], Any], None]
    """Takes a maker of fresh components and an example; raises :class:`BreachError`."""


def uphold(
    component: str,
    make: Callable[[], S],
    laws: Sequence[Law[S]],
    *,
    max_examples: int,
    seed: int,
    skip: Collection[str],
) -> None:
    """Check one law after the other; the first that is broken is reported.

    Args:
        component: what a report calls the component.
        make: makes a fresh component.
        laws: in the order in which a fault is best explained.
        max_examples: how many examples a law is tried on, 1 or more.
        seed: where the search starts; the same seed tries the same examples.
        skip: names of laws that are left out.

    Raises:
        LawBrokenError: with the smallest example found.
        ConfigError: ``skip`` holds a name that is no law's, or ``max_examples`` is below 1.
    """
    at_least("max_examples", max_examples, 1)
    names = [law.name for law in laws]
    for name in skip:
        if name not in names:
            raise ConfigError("skip", f"'{name}' is not a law; {did_you_mean(name, names)}")
    for law in laws:
        if law.name not in skip:
            _search(component, make, law, max_examples, seed)


def _search(
    component: str, make: Callable[[], S], law: Law[S], max_examples: int, seed: int
) -> None:
    @seeded(seed)
    @settings(
        max_examples=max_examples,
        database=None,
        deadline=None,
        report_multiple_bugs=False,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(law.examples)
    def attempt(example: object) -> None:
        try:
            law.check(make, example)
        except BreachError as breach:
            breach.example = example
            raise
        except ConfigError:
            raise
        except Exception as error:
            unexpected = BreachError(f"{type(error).__name__}: {error}", "no error")
            unexpected.example = example
            raise unexpected from error

    try:
        attempt()
    except BreachError as breach:
        raise LawBrokenError(
            component=component,
            law=law.name,
            example=describe(breach.example),
            got=breach.got,
            expected=breach.expected,
        ) from breach.__cause__
    except Flaky as error:
        raise LawBrokenError(
            component=component,
            law=law.name,
            example="  (on one example, but not on a second try of the same)",
            got="two results for the same input",
            expected="the same result every time",
        ) from error


def expect(holds: bool, *, got: object, expected: object) -> None:
    """Raise a :class:`BreachError` with both sides unless ``holds``."""
    if not holds:
        raise BreachError(got, expected)


def expect_close(
    got: Tensor, expected: Tensor, tolerance: float | Tensor, what: str = "the value"
) -> None:
    """Raise a :class:`BreachError` with the two numbers that lie furthest apart, if too far.

    Equal infinities are equal; NaN is equal to nothing.

    Args:
        got: any shape.
        expected: the same shape.
        tolerance: the greatest difference allowed, one for all or one for each.
        what: what the numbers are, for the report.
    """
    expect(got.shape == expected.shape, got=tuple(got.shape), expected=tuple(expected.shape))
    if got.numel() == 0:
        return
    first, second = got.detach().double(), expected.detach().double()
    excess = (first - second).abs() - torch.as_tensor(tolerance, dtype=torch.float64)
    excess = excess.masked_fill(first == second, -math.inf)
    excess = excess.nan_to_num(nan=math.inf, posinf=math.inf, neginf=-math.inf).flatten()
    worst = int(excess.argmax())
    if excess[worst] > 0.0:
        place = f" [{_place(worst, got.shape)}]" if got.numel() > 1 else ""
        raise BreachError(
            f"{float(first.flatten()[worst])!r}  ({what}{place})",
            f"{float(second.flatten()[worst])!r}",
        )


def describe(example: object) -> str:
    """An example as indented lines, its tensors in a form that can be pasted into code."""
    if not dataclasses.is_dataclass(example):
        return f"  example = {literal(example)}"
    fields = [(field.name, getattr(example, field.name)) for field in dataclasses.fields(example)]
    return "\n".join(f"  {name} = {literal(value)}" for name, value in fields)


def literal(value: object) -> str:
    """A value as Python writes it; a long tensor is cut."""
    if not isinstance(value, Tensor):
        return repr(value)
    if value.numel() > _SHOWN_NUMBERS:
        head = value.flatten()[:8].tolist()
        return f"<{tuple(value.shape)} {value.dtype}, beginning {head!r}>"
    return f"torch.tensor({value.tolist()!r}, dtype={value.dtype})".replace("inf", "math.inf")


def _place(flat: int, shape: torch.Size) -> str:
    return ", ".join(str(int(index)) for index in torch.unravel_index(torch.tensor(flat), shape))
