"""Mean, deviation and interval over seeds, against tables and by hand."""

import math
import statistics

import pytest

from sekd_plugin.sweep.statistics import student_t_quantile, summary


@pytest.mark.parametrize(
    ("degrees", "t975", "t995"),
    [  # printed tables of Student's distribution
        (1, 12.706, 63.657),
        (2, 4.303, 9.925),
        (3, 3.182, 5.841),
        (4, 2.776, 4.604),
        (5, 2.571, 4.032),
        (9, 2.262, 3.250),
        (10, 2.228, 3.169),
        (29, 2.045, 2.756),
        (30, 2.042, 2.750),
        (120, 1.980, 2.617),
    ],
)
def test_quantiles_are_those_of_the_tables(degrees, t975, t995):
    assert student_t_quantile(0.975, degrees) == pytest.approx(t975, abs=6e-4)
    assert student_t_quantile(0.995, degrees) == pytest.approx(t995, abs=6e-4)


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 7, 12])
def test_a_quantile_has_the_mass_of_the_density_below_it(degrees):
    scale = math.gamma((degrees + 1) / 2) / (math.sqrt(degrees * math.pi) * math.gamma(degrees / 2))
    end, cells = student_t_quantile(0.95, degrees), 20_000
    width = end / cells
    mass = sum(
        scale * (1 + ((cell + 0.5) * width) ** 2 / degrees) ** (-(degrees + 1) / 2) * width
        for cell in range(cells)
    )
    assert mass == pytest.approx(0.45, abs=1e-6)


def test_one_seed_has_a_mean_and_nothing_more():
    found = summary([12.5])
    assert (found.mean, found.count) == (12.5, 1)
    assert found.deviation is found.low is found.high is None


def test_three_seeds_are_summed_up_as_by_hand():
    values = [12.1, 12.9, 12.4]
    found = summary(values)
    assert found.mean == pytest.approx(statistics.mean(values))
    assert found.deviation == pytest.approx(statistics.stdev(values))
    half = 4.302653 * statistics.stdev(values) / math.sqrt(3)
    assert found.low == pytest.approx(found.mean - half, rel=1e-6)
    assert found.high == pytest.approx(found.mean + half, rel=1e-6)
    assert found.count == 3


def test_seeds_that_agree_leave_no_doubt():
    found = summary([7.0, 7.0, 7.0])
    assert found.deviation == 0.0 and found.low == found.high == 7.0
