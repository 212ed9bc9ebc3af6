"""What holds for every threshold."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import torch
from hypothesis import strategies as st
from torch import Tensor

from sekd_plugin.errors import ConfigError
from sekd_plugin.testing.difficulty_stream import (
    GivenDifficulty,
    MicroBatch,
    Step,
    Stream,
    streams,
    tensor,
    through_a_file,
)
from sekd_plugin.testing.laws import Law, expect, expect_close, uphold
from sekd_plugin.testing.strategies import Draw
from sekd_plugin.testing.subjects import Subject, maker
from sekd_plugin.testing.two_processes import run_in_two_processes
from sekd_plugin.thresholds import Threshold, thresholds

Make = Callable[[], Threshold]
Count = Callable[[int], int]


def check_threshold(
    threshold: Subject[Threshold],
    *,
    count: Count | None = None,
    two_processes: bool = False,
    max_examples: int = 50,
    seed: int = 0,
    skip: Collection[str] = (),
) -> None:
    """Check that a threshold keeps every law of thresholds.

    The laws, in the order in which they are checked:

    - ``one bool a token``: ``[n]`` → ``[n]`` bool, also for n = 0 and infinite difficulties, and
      the same for a sentence by itself as for a batch of one sentence;
    - ``inputs are left unchanged``;
    - ``no gradient leaks``: neither the decision, Γ nor what the threshold keeps has one;
    - ``an empty step is harmless``: Γ is a number after it;
    - ``observes is true``: with ``observes = False`` the difficulties of a step change nothing;
    - ``no easy token is harder than a hard one``;
    - ``hard means above Γ``, where Γ is known: a token at Γ is easy;
    - ``raising Γ adds no hard token``, where Γ is known;
    - ``infinity is not contagious``: Γ stays finite when one difficulty of a step is infinite;
    - ``ties add no hard token``: where the number of hard tokens depends on n alone, equal
      difficulties do not raise it;
    - ``no batch means each token alone``: with ``needs_batch = False`` a batch may be cut;
    - ``tokens have no order``;
    - ``micro-batches have no order``, ``one rank is as good as two``,
      ``evaluation leaves no trace`` and ``state survives a checkpoint``, inside a criterion;
    - ``the declared count``, only with ``count``: exactly so many, ties or not;
    - ``two processes agree``, only with ``two_processes``; where the threshold decides over ranks,
      each process has a share of every batch's tokens.

    Args:
        threshold: a :class:`~sekd_plugin.Threshold`, which is copied, so that every example
            begins in its state; a name; ``{name, config}``; or a class or function that makes
            one when called without arguments.
        count: for a threshold that promises a number of hard tokens, n → that number.
        two_processes: also run under two real gloo processes. They make the threshold anew, so
            it must be given by name: a built-in, an entry point's or ``package.module:Class``.
        max_examples: how many examples to try for each law.
        seed: the same seed tries the same examples.
        skip: names of laws not to check.

    Raises:
        LawBrokenError: an AssertionError that names the law, the smallest example and both sides.
        ConfigError: the threshold cannot be made, or an argument does not fit.
    """
    component, make = maker(threshold, thresholds)
    laws = LAWS if count is None else (*LAWS, _count_law(count))
    if two_processes and not isinstance(threshold, str | Mapping):
        raise ConfigError("two_processes", "needs the threshold by name, as a recipe writes it")
    uphold(component, make, laws, max_examples=max_examples, seed=seed, skip=skip)
    if two_processes and isinstance(threshold, str | Mapping):
        law = _two_processes_law(threshold)
        uphold(component, make, [law], max_examples=1, seed=seed, skip=())


@dataclass(frozen=True)
class _Moment(Stream):
    """A stream, and a moment in it: within a step, before micro-batch ``batch``."""

    step: int
    batch: int
    used: bool
    """Whether the threshold that takes the state back has been at work already."""


@dataclass(frozen=True)
class _Ranks(Stream):
    """A stream, and how its micro-batches are dealt out to two ranks."""

    second: tuple[bool, ...]

    def dealt(self, step: Step) -> tuple[Step, Step]:
        """The micro-batches of the first and of the second rank."""
        first = tuple(batch for i, batch in enumerate(step) if not self._of_second(i))
        return first, tuple(batch for i, batch in enumerate(step) if self._of_second(i))

    def _of_second(self, number: int) -> bool:
        return self.second[number % len(self.second)]


@dataclass(frozen=True)
class _TwoStreams:
    first: Stream
    second: Stream


@dataclass(frozen=True)
class _Ties(Stream):
    """A stream, and the difficulties of a batch with ties."""

    tied: MicroBatch


@st.composite
def _moments(draw: Draw) -> _Moment:
    # Some state shows only after several steps.
    stream = draw(streams(min_steps=3))
    step = draw(st.integers(0, len(stream.steps) - 1))
    batch = draw(st.integers(0, len(stream.steps[step])))
    return _Moment(stream.steps, stream.probe, step, batch, draw(st.booleans()))


@st.composite
def _ranks(draw: Draw) -> _Ranks:
    stream = draw(streams())
    second = draw(st.lists(st.booleans(), min_size=1, max_size=3))
    return _Ranks(stream.steps, stream.probe, tuple(second))


@st.composite
def _ties(draw: Draw) -> _Ties:
    stream = draw(streams(min_steps=0))
    tied = draw(st.lists(st.sampled_from((1.0, 2.0)), min_size=1, max_size=6))
    return _Ties(stream.steps, stream.probe, tuple(tied))


def _after(make: Make, steps: Sequence[Step]) -> Threshold:
    """A threshold after the steps of a stream, as a criterion leads it through them."""
    threshold = make()
    for step in steps:
        for micro_batch in step:
            threshold.decide(tensor(micro_batch))
        difficulty = sorted(chain.from_iterable(step)) if threshold.observes else ()
        threshold.step(tensor(difficulty))
    return threshold


def _asked_once(make: Make, stream: Stream, values: Sequence[float]) -> list[bool]:
    """The decision of a threshold after the stream that was asked nothing else since."""
    return _hard(_after(make, stream.steps), values)


def _hard(threshold: Threshold, values: Sequence[float]) -> list[bool]:
    return [bool(hard) for hard in threshold.decide(tensor(values))]


def _one_bool_a_token(make: Make, stream: Stream) -> None:
    for threshold in (make(), _after(make, stream.steps)):
        for values in (stream.probe, ()):
            difficulty = tensor(values)
            for ends in (None, torch.zeros(len(values), dtype=torch.int64)):
                hard = (
                    threshold.decide(difficulty)
                    if ends is None
                    else threshold.decide_by_sentence(difficulty, ends)
                )
                expect(isinstance(hard, Tensor), got=type(hard).__name__, expected="Tensor")
                expect(hard.dtype == torch.bool, got=hard.dtype, expected=torch.bool)
                expect(
                    hard.shape == difficulty.shape,
                    got=f"the shape {tuple(hard.shape)}",
                    expected=tuple(difficulty.shape),
                )
    sentences = torch.zeros(len(stream.probe), dtype=torch.int64)
    whole = _asked_once(make, stream, stream.probe)
    alone = _after(make, stream.steps).decide_by_sentence(tensor(stream.probe), sentences)
    expect(alone.tolist() == whole, got=alone.tolist(), expected=whole)


def _unchanged(make: Make, stream: Stream) -> None:
    threshold = _after(make, stream.steps)
    for name, use in (("decide", threshold.decide), ("step", threshold.step)):
        difficulty = tensor(sorted(stream.probe))
        use(difficulty)
        expect_close(difficulty, tensor(sorted(stream.probe)), 0.0, f"difficulty after {name}")


def _no_gradient(make: Make, stream: Stream) -> None:
    threshold = make()
    for values in (*(batch for step in stream.steps for batch in step), stream.probe):
        difficulty = tensor(sorted(values)).requires_grad_() * 1.0
        with warnings.catch_warnings():
            # Torch warns when a number is read out of a graph, which is what should happen here.
            warnings.simplefilter("ignore", UserWarning)
            hard = threshold.decide(difficulty)
            threshold.step(difficulty)
        expect(not hard.requires_grad, got="a decision with a gradient", expected="none")
        gamma: object = threshold.gamma
        expect(
            gamma is None or (isinstance(gamma, float | int) and not isinstance(gamma, bool)),
            got=f"Γ = {gamma!r}",
            expected="a Python number, or None",
        )
        for name, kept in vars(threshold).items():
            leaking = any(part.requires_grad for part in _tensors(kept))
            expect(not leaking, got=f"a gradient kept in {name}", expected="none")


def _tensors(value: object) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _tensors(part)
    elif isinstance(value, list | tuple | set | frozenset):
        for part in value:
            yield from _tensors(part)


def _a_cut(make: Make, stream: Stream) -> None:
    hard = _hard(_after(make, stream.steps), stream.probe)
    chosen = [d for d, is_hard in zip(stream.probe, hard, strict=True) if is_hard]
    others = [d for d, is_hard in zip(stream.probe, hard, strict=True) if not is_hard]
    if chosen and others:
        expect(
            min(chosen) >= max(others),
            got=f"d = {min(chosen)} is hard where {max(others)} is easy",
            expected="the hardest tokens are hard",
        )


def _above_gamma(make: Make, stream: Stream) -> None:
    gamma = _after(make, stream.steps).gamma
    if gamma is None:
        return
    at = torch.tensor(float(gamma), dtype=torch.float64)
    below, above = (torch.nextafter(at, at.new_tensor(end)) for end in (-math.inf, math.inf))
    exact = torch.stack([below, at, above, *(at.new_tensor(d) for d in stream.probe)])
    exact = exact[exact >= 0.0]
    for difficulty in (exact, tensor(stream.probe)):
        hard = _after(make, stream.steps).decide(difficulty)
        expected = difficulty > gamma
        wrong = (hard != expected).nonzero().flatten()
        if wrong.numel():
            first = int(wrong[0])
            expect(
                False,
                got=f"d = {float(difficulty[first])!r} is {_word(bool(hard[first]))}",
                expected=f"{_word(bool(expected[first]))}, as Γ = {gamma!r}",
            )


def _word(hard: bool) -> str:
    return "hard" if hard else "easy"


def _raising_gamma(make: Make, pair: _TwoStreams) -> None:
    one, two = (_after(make, stream.steps) for stream in (pair.first, pair.second))
    if one.gamma is None or two.gamma is None or math.isnan(one.gamma + two.gamma):
        return
    low, high = (one, two) if one.gamma <= two.gamma else (two, one)
    values = pair.first.probe + pair.second.probe
    fewer, more = _hard(high, values), _hard(low, values)
    added = [d for d, late, early in zip(values, fewer, more, strict=True) if late and not early]
    expect(
        not added,
        got=f"d = {added} is hard only at the greater Γ = {high.gamma}",
        expected=f"whatever is easy at Γ = {low.gamma} is easy there",
    )


def _ties_add_none(make: Make, example: _Ties) -> None:
    threshold = _after(make, example.steps)
    n = len(example.tied)
    # Three batches without ties, each spread in its own way: a count that is the same for all of
    # them, and at other scales, is a count that depends on n alone.
    spreads = (
        [float(i) for i in range(n)],
        [2.0**i for i in range(n)],
        [-(2.0**-i) for i in range(n)],
    )
    counts = {
        sum(_hard(threshold, [scale * (value + 2.0) for value in spread]))
        for spread in spreads
        for scale in (0.01, 1.0, 100.0)
    }
    if len(counts) == 1 and threshold.gamma is None:
        (most,) = counts
        number = sum(_hard(threshold, example.tied))
        expect(number <= most, got=f"{number} hard tokens", expected=f"{most}, as without ties")


def _count_law(count: Count) -> Law[Threshold]:
    def check(make: Make, example: _Ties) -> None:
        threshold = make()
        for values in (example.tied, example.probe, ()):
            number, expected = sum(_hard(threshold, values)), count(len(values))
            expect(
                number == expected,
                got=f"{number} hard tokens of {list(values)}",
                expected=f"{expected}",
            )

    return Law(name="the declared count", examples=_ties(), check=check)


def _each_token_alone(make: Make, stream: Stream) -> None:
    if make().needs_batch:
        return
    whole = _asked_once(make, stream, stream.probe)
    alone = [_asked_once(make, stream, (value,))[0] for value in stream.probe]
    expect(whole == alone, got=f"{whole} for the batch", expected=f"{alone} token by token")


def _tokens_have_no_order(make: Make, stream: Stream) -> None:
    values = sorted(set(stream.probe))
    upwards = _asked_once(make, stream, values)
    downwards = _asked_once(make, stream, values[::-1])[::-1]
    expect(upwards == downwards, got=f"{downwards} when reversed", expected=f"{upwards}")


def _micro_batches_have_no_order(make: Make, stream: Stream) -> None:
    one, two = GivenDifficulty(make()), GivenDifficulty(make())
    for step in stream.steps:
        first, second = one.run(step), two.run(step[::-1])
        expect(
            first.gamma == second.gamma,
            got=f"Γ = {second.gamma} after the same micro-batches backwards",
            expected=f"Γ = {first.gamma}",
        )
        expect(
            first.hard == second.hard[::-1],
            got=f"{second.hard[::-1]} when they came backwards",
            expected=f"{first.hard}",
        )
    expect(
        one.decide(stream.probe) == two.decide(stream.probe),
        got=two.decide(stream.probe),
        expected=one.decide(stream.probe),
    )


def _one_rank_or_two(make: Make, example: _Ranks) -> None:
    alone = GivenDifficulty(make())
    ranks = (GivenDifficulty(make()), GivenDifficulty(make()))
    for step in example.steps:
        whole = alone.run(step)
        for rank, part in zip(ranks, example.dealt(step), strict=True):
            for micro_batch in part:
                rank.decide(micro_batch)
        gathered = [GivenDifficulty(rank.threshold) for rank in ranks]
        for copy, rank in zip(gathered, ranks, strict=True):
            copy.share_observations([rank])
        for rank in ranks:
            rank.share_observations(gathered)
            rank.step()
        gammas = [rank.threshold.gamma for rank in ranks]
        expect(
            gammas == [whole.gamma, whole.gamma],
            got=f"Γ = {gammas[0]} and {gammas[1]} on two ranks",
            expected=f"Γ = {whole.gamma} on one",
        )
    decisions = [rank.decide(example.probe) for rank in ranks]
    expected = alone.decide(example.probe)
    expect(
        decisions == [expected, expected],
        got=f"{decisions[0]} and {decisions[1]} on two ranks",
        expected=f"{expected} on one",
    )


def _no_trace(make: Make, stream: Stream) -> None:
    plain, evaluated = GivenDifficulty(make()), GivenDifficulty(make())
    for step in stream.steps:
        expected = plain.run(step)
        evaluated.eval()
        for _ in range(2):
            evaluated.decide(stream.probe)
        evaluated.train()
        got = evaluated.run(step)
        expect(got == expected, got=f"{got} with evaluation between", expected=f"{expected}")
    expect(
        evaluated.decide(stream.probe) == plain.decide(stream.probe),
        got=evaluated.decide(stream.probe),
        expected=plain.decide(stream.probe),
    )


def _survives(make: Make, moment: _Moment) -> None:
    original = GivenDifficulty(make())
    for step in moment.steps[: moment.step]:
        original.run(step)
    open_step = moment.steps[moment.step]
    for micro_batch in open_step[: moment.batch]:
        original.decide(micro_batch)
    resumed = GivenDifficulty(make())
    if moment.used:
        resumed.run((moment.probe,))
    resumed.load_state_dict(through_a_file(original.state_dict()))
    rest = (open_step[moment.batch :], *moment.steps[moment.step + 1 :], (moment.probe,))
    expect(
        resumed.threshold.gamma == original.threshold.gamma,
        got=f"Γ = {resumed.threshold.gamma} after loading",
        expected=f"Γ = {original.threshold.gamma}",
    )
    for number, step in enumerate(rest):
        expected, got = original.run(step), resumed.run(step)
        expect(
            got == expected,
            got=f"{got} in step {number} after loading",
            expected=f"{expected}",
        )


def _empty_step(make: Make, stream: Stream) -> None:
    threshold = _after(make, (((),), *stream.steps, ((),)))
    gamma = threshold.gamma
    expect(gamma is None or not math.isnan(gamma), got=f"Γ = {gamma}", expected="a number")
    expect(threshold.decide(tensor(())).numel() == 0, got="a decision", expected="none")


def _observes(make: Make, stream: Stream) -> None:
    told, untold = make(), make()
    if told.observes:
        return
    for step in stream.steps:
        told.step(tensor(sorted(chain.from_iterable(step))))
        untold.step(tensor(()))
        expect(
            told.gamma == untold.gamma,
            got=f"Γ = {told.gamma} after a step with difficulties",
            expected=f"Γ = {untold.gamma}, as without, for observes = False",
        )
    hard, expected = _hard(told, stream.probe), _hard(untold, stream.probe)
    expect(
        hard == expected,
        got=f"{hard} after steps with difficulties",
        expected=f"{expected}, as without, for observes = False",
    )


def _not_contagious(make: Make, stream: Stream) -> None:
    calm, struck = _after(make, stream.steps), _after(make, stream.steps)
    values = sorted(value for value in stream.probe if math.isfinite(value))
    if not values:
        return
    calm.step(tensor(values))
    struck.step(tensor([*values, math.inf]))
    if calm.gamma is not None and math.isfinite(calm.gamma):
        gamma = struck.gamma
        expect(
            gamma is not None and math.isfinite(gamma),
            got=f"Γ = {gamma} after a step with one infinite difficulty",
            expected=f"a finite Γ, such as {calm.gamma} without it",
        )


def _two_processes_law(choice: str | Mapping[str, object]) -> Law[Threshold]:
    stream = Stream(
        steps=(((0.25, 1.5, 3.0), (2.0,), (), (0.5, 0.5)), ((1.0, 4.0), (0.75,)), (((0.5,),))),
        probe=(0.25, 0.5, 1.0, 1.5, 2.0, 5.0),
    )

    def check(make: Make, example: Stream) -> None:
        alone = GivenDifficulty(make())
        gammas = [alone.run(step).gamma for step in example.steps]
        expected = {"gamma": gammas, "hard": list(alone.decide(example.probe))}
        first, second = run_in_two_processes(choice, example)
        expect(
            first == expected and second == expected,
            got=f"{first} and {second} on two processes",
            expected=f"{expected} on one",
        )

    return Law(name="two processes agree", examples=st.just(stream), check=check)


LAWS: tuple[Law[Threshold], ...] = (
    Law(name="one bool a token", examples=streams(), check=_one_bool_a_token),
    Law(name="inputs are left unchanged", examples=streams(), check=_unchanged),
    Law(name="no gradient leaks", examples=streams(), check=_no_gradient),
    Law(name="an empty step is harmless", examples=streams(), check=_empty_step),
    Law(name="observes is true", examples=streams(), check=_observes),
    Law(name="no easy token is harder than a hard one", examples=streams(), check=_a_cut),
    Law(name="hard means above Γ", examples=streams(), check=_above_gamma),
    Law(
        name="raising Γ adds no hard token",
        examples=st.builds(_TwoStreams, streams(), streams()),
        check=_raising_gamma,
    ),
    Law(name="infinity is not contagious", examples=streams(), check=_not_contagious),
    Law(name="ties add no hard token", examples=_ties(), check=_ties_add_none),
    Law(name="no batch means each token alone", examples=streams(), check=_each_token_alone),
    Law(name="tokens have no order", examples=streams(), check=_tokens_have_no_order),
    Law(
        name="micro-batches have no order",
        examples=streams(),
        check=_micro_batches_have_no_order,
    ),
    Law(name="one rank is as good as two", examples=_ranks(), check=_one_rank_or_two),
    Law(name="evaluation leaves no trace", examples=streams(), check=_no_trace),
    Law(name="state survives a checkpoint", examples=_moments(), check=_survives),
)
