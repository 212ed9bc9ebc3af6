"""What a row does next, which trials go on, and which one is reported."""

import pytest

from sekd_plugin.sweep.agenda import RowAgenda, Training
from sekd_plugin.sweep.expansion import Row, Trial
from sekd_plugin.sweep.halving import survivors
from sekd_plugin.sweep.record import RunRecord, State
from sekd_plugin.sweep.settings import HalvingSection


@pytest.mark.parametrize(
    ("scores", "keep", "kept"),
    [
        ({"a": 1, "b": 3, "c": 2, "d": 0}, 0.5, ["b", "c"]),
        ({"a": 1, "b": 3, "c": 2}, 0.5, ["b", "c"]),
        ({"a": 1, "b": 3, "c": 2}, 0.1, ["b"]),
        ({"a": 2, "b": 2, "c": 2}, 0.3, ["a"]),
        ({"a": 1}, 0.5, ["a"]),
        ({str(number): number for number in range(10)}, 0.3, ["7", "8", "9"]),
    ],
)
def test_the_best_share_goes_on_rounded_up_and_of_equals_the_first(scores, keep, kept):
    assert survivors(scores, keep) == kept


class Sweep:
    """A row of trials with two seeds, moved by hand."""

    def __init__(self, trials, halving=None):
        row = Row(name="r", trials=tuple(Trial(name=f"r/{each}", settings={}) for each in trials))
        self.records = {
            f"r/{each}/seed_{seed}": RunRecord(recipe={}) for each in trials for seed in (1, 2)
        }
        self.agenda = RowAgenda(row, (1, 2), halving, self.records, [])

    def set(self, trial, **changes):
        for seed in (1, 2):
            run = f"r/{trial}/seed_{seed}"
            self.records[run] = self.records[run].but(**changes)


SCORES = {"a": 10.0, "b": 12.0, "c": 11.0}


def score(run):
    return SCORES[run.split("/")[1]] + (0.5 if run.endswith("seed_1") else -0.5)


def test_without_halving_all_are_trained_and_the_best_mean_is_chosen():
    sweep = Sweep("abc")
    assert len(sweep.agenda.trainings()) == 6
    assert sweep.agenda.trainings()[0] == Training("r/a/seed_1", None)
    for trial in "abc":
        assert sweep.agenda.chosen(score) is None
        sweep.set(trial, is_trained=True, state=State.FINISHED)
    assert sweep.agenda.trainings() == []
    assert sweep.agenda.chosen(score) == "r/b"


def test_a_trial_that_lacks_a_seed_is_not_chosen_over_one_that_has_all():
    sweep = Sweep("ab")
    for trial in "ab":
        sweep.set(trial, is_trained=True, state=State.FINISHED)
    run = "r/b/seed_2"
    sweep.records[run] = sweep.records[run].but(is_trained=False, state=State.FAILED)
    assert sweep.agenda.chosen(score) == "r/a"


def test_a_row_whose_runs_all_failed_has_nothing_to_report():
    sweep = Sweep("ab")
    for trial in "ab":
        sweep.set(trial, state=State.FAILED)
    assert sweep.agenda.chosen(score) is None and sweep.agenda.trainings() == []


def test_halving_goes_step_by_step():
    sweep = Sweep("abc", HalvingSection(steps=[10, 20], keep=0.5))
    agenda = sweep.agenda
    assert {each.stop_after for each in agenda.trainings()} == {10}
    sweep.set("a", state=State.PAUSED, paused_at=10)
    sweep.set("b", state=State.PAUSED, paused_at=10)
    assert {each.run[:3] for each in agenda.trainings()} == {"r/c"}
    assert agenda.decide(score) is None, "not all have come to the step"
    sweep.set("c", state=State.PAUSED, paused_at=10)

    decision = agenda.decide(score)
    assert decision.step == 10 and decision.kept == ["r/b", "r/c"]
    assert decision.scores == {"r/a": 10.0, "r/b": 12.0, "r/c": 11.0}
    assert {(each.run[:3], each.stop_after) for each in agenda.trainings()} == {
        ("r/b", 20), ("r/c", 20),
    }  # fmt: skip

    for trial in "bc":
        sweep.set(trial, paused_at=20)
    assert agenda.decide(score).kept == ["r/b"]
    assert [each.stop_after for each in agenda.trainings()] == [None, None]
    assert agenda.chosen(score) is None
    sweep.set("b", is_trained=True, state=State.FINISHED)
    assert agenda.chosen(score) == "r/b"


def test_a_trial_that_fails_before_the_step_is_given_up_there():
    sweep = Sweep("ab", HalvingSection(steps=[10], keep=0.9))
    sweep.set("a", state=State.PAUSED, paused_at=10)
    sweep.set("b", state=State.FAILED)
    decision = sweep.agenda.decide(score)
    assert decision.kept == ["r/a"] and decision.scores == {"r/a": 10.0}


def test_where_all_fail_before_the_step_nothing_is_decided():
    sweep = Sweep("ab", HalvingSection(steps=[10], keep=0.5))
    for trial in "ab":
        sweep.set(trial, state=State.FAILED)
    assert sweep.agenda.decide(score) is None and sweep.agenda.decisions == []


def test_a_trial_is_known_to_have_failed_by_any_of_its_runs():
    sweep = Sweep("ab")
    sweep.set("a", is_trained=True, state=State.FINISHED)
    assert not sweep.agenda.has_failed("r/a") and not sweep.agenda.has_failed("r/b")
    run = "r/b/seed_2"
    sweep.records[run] = sweep.records[run].but(state=State.FAILED)
    assert sweep.agenda.has_failed("r/b")


def test_a_row_of_one_trial_is_never_halved():
    sweep = Sweep("a", HalvingSection(steps=[10], keep=0.5))
    assert [each.stop_after for each in sweep.agenda.trainings()] == [None, None]
