"""What the demo says of the time left is near what a watch would say."""

import pytest

from sekd_plugin.programs.time_left import StageClock, pace


def test_before_anything_is_finished_things_go_as_expected():
    assert pace([], []) == 1.0


def test_a_short_stage_that_took_twice_as_long_hardly_changes_the_estimate_of_minutes():
    assert 1.0 < pace([5.0], [10.0]) < 1.1


def test_after_long_stages_the_estimate_follows_what_they_took():
    assert pace([5.0, 600.0], [5.0, 1200.0]) == pytest.approx(2.0, abs=0.1)


def test_a_stage_that_goes_steadily_has_the_rest_of_its_steps_left():
    clock = StageClock(expected=100.0, started=0.0)
    assert clock.left(10.0, 0, 100) == pytest.approx(90.0)  # only starting: the expectation
    clock.left(20.0, 10, 100)  # the first sign of progress
    assert clock.left(40.0, 20, 100) == pytest.approx(160.0)  # 2 s a step, 80 to go


def test_what_an_earlier_sitting_did_is_not_taken_for_speed():
    clock = StageClock(expected=100.0, started=0.0)
    assert clock.left(5.0, 90, 100) == pytest.approx(10.0)
    assert clock.left(9.0, 92, 100) == pytest.approx(16.0)
