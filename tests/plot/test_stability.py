"""The stability ladder: points, fitted lines, the bound above them, and what is no bound."""

import numpy as np
import pytest

import flowmod as fm

SIZES = np.array([10, 20, 40])


@pytest.fixture
def ladder():
    loss = np.array([1.0, 2.0, 4.0])[None, None] / SIZES[:, None, None] * np.ones((1, 2, 1))
    flat = loss.max(axis=2)
    return fm.StabilityLadder(SIZES, loss, None, flat, flat, np.arange(2), np.arange(2), "replace-one", 1.0, None)


def lines(ax):
    return {line.get_label(): line for line in ax.lines}


def test_points_fits_and_the_slopes_in_the_legend(ladder):
    ax = fm.plot.stability(ladder)
    drawn = lines(ax)
    np.testing.assert_allclose(drawn[r"largest, slope -1.00 $\pm$ 0.00"].get_ydata(), 4 / SIZES)
    np.testing.assert_allclose(drawn[r"mean, slope -1.00 $\pm$ 0.00"].get_ydata(), 7 / 3 / SIZES)
    np.testing.assert_allclose(drawn["_fit largest"].get_ydata(), 4 / SIZES)
    assert (ax.get_xscale(), ax.get_yscale(), ax.get_xlabel()) == ("log", "log", "samples")
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [k for k in drawn if not k.startswith("_")]
    assert fm.plot.stability(ladder, ax=ax) is ax


def test_a_declared_bound_and_a_measured_one(ladder):
    for measured, label in ((False, "bound"), (True, "bound, measured constants")):
        bound = fm.stability_bound(2.0, 1.0, 1.0, SIZES, measured=measured)
        line = lines(fm.plot.stability(ladder, bound))[label]
        np.testing.assert_allclose(line.get_ydata(), 8 / SIZES)
        assert line.get_linestyle() == "--"


def test_an_infinite_bound_and_a_ladder_of_zeros_can_be_drawn(ladder):
    nothing = fm.stability_bound(2.0, -1.0, 1.0, SIZES)
    zero = fm.StabilityLadder(**{**vars(ladder), "loss": 0 * ladder.loss})
    fm.plot.stability(zero, nothing).figure.canvas.draw()


def test_what_is_no_bound_is_refused(ladder):
    order = fm.abstract_order(1.0, 1.0, 1.0, 1.0, 10)
    for other in (order, 8 / SIZES):
        with pytest.raises(ValueError, match=r"`bound` must be what `fm.stability_bound` returns, got .*nothing else"):
            fm.plot.stability(ladder, other)
    with pytest.raises(ValueError, match="`bound` must be for several numbers of samples"):
        fm.plot.stability(ladder, fm.stability_bound(1.0, 1.0, 1.0, 10))
    with pytest.raises(
        ValueError, match="`bound` must be of the kind of the ladder, 'replace-one', got 'leave-one-out'"
    ):
        fm.plot.stability(ladder, fm.stability_bound(1.0, 1.0, 1.0, SIZES, kind="leave-one-out"))
    with pytest.raises(ValueError, match=r"`ladder` must be what `fm.measure_stability` returns, got ndarray"):
        fm.plot.stability(SIZES)
