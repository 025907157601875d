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


def heavy_ball(curvatures, step_size, momentum, updates):
    """Losses and the sum of coordinates of heavy ball on a quadratic, from ones."""
    y, v, tail = np.ones(len(curvatures)), np.zeros(len(curvatures)), []
    for _ in range(updates):
        v = momentum * v - step_size * curvatures * y
        y = y + v
        tail.append((np.sum(curvatures * y**2) / 2, np.sum(y)))
    return np.transpose(tail[-TAIL:])


def test_many_modes_at_once_settle_where_they_are_damped():
    curvatures = np.geomspace(0.1, 1.0, 30)
    steps, start = (0.5, 1.0, 2.0, 3.0, 3.5, 3.9), np.sum(curvatures) / 2
    cases = {
        (0.995, 1000): "converging",
        (0.99, 1000): "converging",
        (0.98, 1000): "converged",
        (0.5, 1000): "converged",
    }
    for (momentum, updates), fate in cases.items():
        stable = [h for h in steps if h < 2 * (1 + momentum)][:4]
        tails = np.stack([heavy_ball(curvatures, h, momentum, updates) for h in stable], axis=1)
        assert named(*tails, start=start, drop=start)[0] == [fate] * len(stable), momentum
    # Without damping they never come to rest.
    tails = np.stack([heavy_ball(curvatures, h, 1.0, 1000) for h in steps], axis=1)
    assert named(*tails, start=start, drop=start)[0] == ["irregular"] * len(steps)


def test_growth_of_neighbours_makes_a_hardly_visible_fall_known():
    """Chaos falls by chance, and noise looks the same whether neighbours approach each other or not."""
    curvatures = np.geomspace(0.1, 1.0, 30)
    loss, signal = (tail[None] for tail in heavy_ball(curvatures, 0.1, 0.99, 2000))
    numbers = np.array([8.0]), loss[:, -1], np.array([8.0]), loss, signal
    assert fates(*numbers, growth=np.array([0.995]))[0].tolist() == ["converged"]
    loss, signal = logistic(np.linspace(3.5, 3.9999, 3000), 1000)
    numbers = np.zeros(3000), loss[:, -1], np.full(3000, 0.1), loss, signal
    assert set(fates(*numbers, growth=np.array(1.1))[0]) == {"periodic", "irregular"}
    rng = np.random.default_rng(0)
    signal = rng.normal(size=(200, TAIL))
    numbers = np.ones(200), signal[:, -1] ** 2, np.ones(200), signal**2, signal
    for growth in (None, np.array(0.5)):
        assert np.mean(fates(*numbers, growth=growth)[0] == "irregular") > 0.95


def test_of_many_chaotic_orbits_almost_none_seems_to_settle():
    found, _ = named(*logistic(np.linspace(3.86, 3.9999, 1000), 1000), drop=0.1)
    assert np.mean(np.isin(found, ("converged", "converging"))) <= 5e-3


def creeping(step_size, dtype, start=0.1, updates=1000):
    """Gradient descent on `1 + y^2 / 2`, whose loss is flat by rounding long before its state is."""
    y, tail = dtype(start), []
    for _ in range(updates):
        y = y - dtype(step_size) * y
        tail.append(y)
    y = np.array([tail[-TAIL:]])
    return 1 + y**2 / 2, y


def test_a_run_that_hardly_left_its_start_has_not_converged():
    for dtype, steps in ((np.float32, (1e-7, 3e-7, 1e-6, 1e-5, 1e-4)), (np.float64, (1e-13, 1e-10, 1e-7, 1e-4))):
        for step_size in steps:
            found = named(*creeping(step_size, dtype), start=dtype(1.005), drop=dtype(0.005))
            assert found == (["converging"], [0]), (dtype, step_size)
        for updates in (200, 1000):
            loss, y = creeping(0.1, dtype, updates=updates)
            assert named(loss, y, start=dtype(1.005), drop=dtype(0.005)) == (["converged"], [0])
    # What rounding holds is at rest: no number moves any more.
    assert named(*creeping(1e-9, np.float32), start=np.float32(1.005), drop=np.float32(0.005))[0] == ["converged"]


def test_rounding_of_a_sum_is_no_motion_and_what_is_larger_is():
    """With a size of one, what stays within some ulp is one point; a thousand times that is a cycle."""
    flip = (-1.0) ** np.arange(TAIL)
    for width, fate in ((1e-15, "converged"), (1e-12, "periodic")):
        assert named([np.full(TAIL, 3.0)], [1 + width * flip])[0] == [fate]


def test_a_fall_without_end_has_diverged():
    """`(x^2 - y^2) / 2`: the moves grow, and so does what is lost; where it begins a run may still find its way."""
    for updates, fate in ((50, "converging"), (500, "diverged")):
        x, y = 0.9 ** np.arange(updates)[-TAIL:], 1e-3 * 1.1 ** np.arange(updates)[-TAIL:]
        missing = np.full(TAIL - len(x), np.nan)
        loss, signal = np.concatenate([missing, (x**2 - y**2) / 2]), np.concatenate([missing, x + y])
        assert named([loss], [signal])[0] == [fate]
    huge = np.float32(-1e30) * np.float32(1.01) ** np.arange(TAIL, dtype=np.float32)
    assert named([huge], [np.sqrt(-huge)])[0] == ["diverged"]
    # In equal moves it goes on as it did.
    assert named([-np.arange(TAIL) * 1e8], [1.0 * np.arange(TAIL)])[0] == ["converging"]
