"""Where a series of rates is negative, and what is said where there is no rate."""

import numpy as np
import pytest

from flowmod.study.rates import intervals_below_zero, summarise_rates

TIMES = np.array([0.0, 1.0, 2.0, 4.0])


@pytest.mark.parametrize(
    ("values", "intervals"),
    [
        ([1, 2, 3, 4], []),
        ([-1, -2, -3, -4], [[0, 4]]),
        ([-1, 1, 1, 1], [[0, 0.5]]),
        ([1, 1, 1, -1], [[3, 4]]),
        ([1, -1, -1, 3], [[0.5, 2.5]]),
        ([-1, 3, -1, -1], [[0, 0.25], [1.75, 4]]),
        ([0, 0, 0, 0], []),
        ([0, -1, 0, 0], [[0, 2]]),
    ],
)
def test_intervals_of_a_piecewise_linear_function(values, intervals):
    assert intervals_below_zero(TIMES, np.array(values, float)) == intervals


def test_times_without_a_rate_are_counted_and_left_out():
    summary = summarise_rates(TIMES, np.array([-1.0, np.nan, 1.0, 3.0]))
    assert summary == {"least": -1, "most": 3, "negative_between": [[0, 1]], "missing": 1}
    assert summarise_rates(TIMES, np.full(4, np.nan)) == {
        "least": None,
        "most": None,
        "negative_between": [],
        "missing": 4,
    }
