"""What became of a run: closed forms, linear recursions with known factors, and the logistic map."""

import numpy as np
import pytest

from flowmod.discrete.fates import FATES, TAIL, fates


def named(tails_of_loss, tails_of_signal, start=0.5, drop=0.5):
    """Fates and periods of runs whose tails are given, (R, N)."""
    loss, signal = np.asarray(tails_of_loss), np.asarray(tails_of_signal)
    fate, period = fates(np.full(len(loss), start), loss[:, -1], np.full(len(loss), drop), loss, signal)
    return list(fate), list(period)


def logistic(r, updates=3000, dtype=np.float64):
    """The last iterates of `x -> r x (1 - x)`, gradient descent with step one on `(1 - r) x^2 / 2 + r x^3 / 3`."""
    r = np.asarray(r, dtype)
    x, tail = np.full(r.shape, 0.3, dtype), []
    for _ in range(updates):
        x = r * x * (1 - x)
        tail.append(x)
    x = np.stack(tail[-TAIL:], axis=-1)
    return (1 - r[:, None]) * x**2 / 2 + r[:, None] * x**3 / 3, x


def linear(factors, updates, offset=2.0, dtype=np.float64):
    """Losses and a coordinate of runs that a factor multiplies in each update, from 1; NaN before the first iterate."""
    powers = np.asarray(factors)[:, None] ** np.arange(updates + 1)
    signal, loss = (powers * (1 + 0.3j)).real + offset, np.abs(powers) ** 2 / 2
    missing = np.full((len(powers), max(TAIL - updates - 1, 0)), np.nan)
    return (np.concatenate([missing, tail[:, -TAIL:]], axis=1).astype(dtype) for tail in (loss, signal))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_logistic_map(dtype):
    cases = {
        0.5: ("converged", 0),
        2.9: ("converged", 0),
        3.2: ("periodic", 2),
        3.44: ("periodic", 2),  # the first doublings are at 3 and at 1 + sqrt(6) = 3.4495
        3.46: ("periodic", 4),
        3.55: ("periodic", 8),
        3.566: ("periodic", 16),
        3.83: ("periodic", 3),  # its window begins at 1 + sqrt(8) = 3.8284
        3.845: ("periodic", 6),
        3.7: ("irregular", 0),
        3.9: ("irregular", 0),
        4.0: ("irregular", 0),
        4.05: ("diverged", 0),
    }
    with np.errstate(over="ignore", invalid="ignore"):
        found = named(*logistic(list(cases), dtype=dtype), drop=0.1)
    assert list(zip(*found, strict=True)) == list(cases.values())


def test_feigenbaums_points_are_told_to_four_digits():
    doublings = np.array([3.0, 1 + 6**0.5, 3.544090, 3.564407])
    before, after = (named(*logistic(doublings + shift, 50_000), drop=0.1)[1] for shift in (-3e-4, 3e-4))
    assert before == [0, 2, 4, 8]
    assert after == [2, 4, 8, 16]


DAMPED = [0.5, 0.9, 0.9999, -0.5, -0.999, -0.99999, 0.9 * np.exp(1j), 0.999 * np.exp(1j), 0.9999 * np.exp(0.001j)]
CYCLES = {2: -1.0, 3: np.exp(2j * np.pi / 3), 5: np.exp(2j * np.pi / 5), 7: np.exp(4j * np.pi / 7)}
GROWING = [1.1, -1.01, 1.02 * np.exp(1j)]


@pytest.mark.parametrize("updates", [1000, 20, 10])
def test_linear_recursions(updates):
    fate, period = named(*linear(DAMPED, updates))
    assert set(fate) <= {"converged", "converging"}
    assert set(period) == {0}
    # What is left of the loss is the square of the factor's power: a millionth of the start is at rest.
    left = np.abs(np.array(DAMPED)) ** (2 * updates)
    assert np.isin(np.array(fate)[left < 1e-7], "converged").all()
    assert np.isin(np.array(fate)[left > 1e-5], "converging").all()
    assert named(*linear([1.0], updates)) == (["converged"], [0])


def test_cycles_and_what_never_repeats():
    for offset in (0.0, 2.0, -1e3):
        assert named(*linear(list(CYCLES.values()), 1000, offset)) == (["periodic"] * 4, list(CYCLES))
    assert named(*linear([np.exp(1j), np.exp(2j)], 1000)) == (["irregular"] * 2, [0, 0])
    # A cycle of 32 is the longest that is told: 33 do not fit four times into a tail.
    assert named(*linear(np.exp(2j * np.pi * np.array([3 / 32, 5 / 33])), 1000)) == (["periodic", "irregular"], [32, 0])


def test_growth_has_diverged_once_it_is_above_the_start():
    assert named(*linear(GROWING, 1000)) == (["diverged"] * 3, [0, 0, 0])
    slow = [1.0001, -1.0001, 1.0001 * np.exp(1j)]
    assert named(*linear(slow, 1000)) == (["diverged"] * 3, [0, 0, 0])
    # Below its start a run may go round a valley before it finds its way down.
    assert "diverged" not in named(*linear(slow, 1000), start=1.0)[0]


def test_a_ceiling():
    loss, signal = logistic([3.2, 3.9])
    assert named(loss + 11, signal, start=0.0, drop=1.0)[0] == ["diverged"] * 2  # ten drops above the start
    numbers = np.zeros(2), loss[:, -1] + 11, np.ones(2), loss + 11, signal
    assert fates(*numbers, ceiling=np.array([20.0, 5.0]))[0].tolist() == ["periodic", "diverged"]


def test_a_cycle_that_the_loss_does_not_see():
    """Gradient descent on `x^4 / 4` jumps between `+-sqrt(2 / h)`, where the loss is the same."""
    x = np.full((1, TAIL), 2.0) * (-1.0) ** np.arange(TAIL)
    assert named(x**4 / 4, x) == (["periodic"], [2])
    assert named(x**4 / 4, np.abs(x)) == (["converged"], [0])  # what a signal that does not see it either would say


def test_an_approach_to_a_cycle_is_no_damping():
    n = np.arange(TAIL)
    x = (-1.0) ** n * (1 + 1e-4 * 0.97**n)
    assert named([x**2], [x]) == (["periodic"], [2])
    assert named([x**2], [(-0.999) ** n]) == (["converging"], [0])


def test_constants_rounding_and_nan():
    same, noise = np.full(TAIL, 3.0), 3.0 + 4e-16 * np.random.default_rng(0).integers(-2, 3, TAIL)
    late = np.where(np.arange(TAIL) > 100, np.nan, 3.0)
    for loss, signal, fate in (
        (same, same, "converged"),
        (same, noise, "converged"),
        (0 * same, 0 * same, "converged"),
        (late, same, "diverged"),
        (same, late, "diverged"),
        (np.nan * same, np.nan * same, "diverged"),
        (np.inf * same, same, "diverged"),
    ):
        assert named([loss], [signal]) == ([fate], [0])
    # A flow that gains nothing, or that could not be run, leaves rounding for a scale.
    for drop in (0.0, np.nan):
        assert named([same], [same], start=3.0, drop=drop) == (["converged"], [0])


def test_leading_axes_and_words():
    loss, signal = logistic([2.5, 3.2, 3.5, 3.9])
    loss, signal = (tail.reshape(2, 2, TAIL) for tail in (loss, signal))
    fate, period = fates(np.zeros((2, 1)), loss[..., -1], np.array(0.1), loss, signal)
    assert fate.tolist() == [["converged", "periodic"], ["periodic", "irregular"]]
    assert period.tolist() == [[0, 2], [4, 0]]
    assert FATES == ("converged", "converging", "periodic", "irregular", "diverged")


def test_the_shortest_runs():
    for iterates in (1, 2, 3, 4):
        missing = np.full(TAIL - iterates, np.nan)
        falling = np.concatenate([missing, 0.5 ** np.arange(iterates)])
        assert named([falling**2 / 2], [falling])[0][0] == ("converged" if iterates == 1 else "converging")
