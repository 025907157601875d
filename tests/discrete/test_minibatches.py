"""Minibatches: moments of SGD on linear regression against their closed recursions, and all samples in one batch."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import flowmod as fm
from flowmod.discrete.minibatches.compare_seeds import _bands

SAMPLES, H, T1 = 6, 0.05, 1.0


@pytest.fixture(scope="module")
def regression():
    """A linear module on six samples, and the same numbers for NumPy: the loss is the mean of (x w - t)^2 / 2."""
    rng = np.random.default_rng(7)
    x = rng.normal(size=(SAMPLES, 2))
    t = x @ [1.0, -2.0] + 0.8 * rng.normal(size=SAMPLES)
    net = fm.Linear(2, 1, use_bias=False, key=jax.random.key(0))
    problem = fm.Supervised(net, fm.MeanSquaredError(), jnp.asarray(x), jnp.asarray(t[:, None]))
    return net, problem, x, t


def loss_of_moments(x, t, mean, second):
    return np.mean(np.einsum("ni,nj,ij->n", x, x, second) - 2 * t * (x @ mean) + t**2) / 2


def moments_with_replacement(x, t, w, batch, updates):
    """Mean and second moment of SGD's iterate after each update: the gradient is a mean of independent samples'."""
    mean, second = w, np.outer(w, w)
    found = [(mean, second)]
    for _ in range(updates):
        gradient = np.mean([xi * (xi @ mean - ti) for xi, ti in zip(x, t, strict=True)], axis=0)
        cross = np.mean([np.outer(second @ xi - mean * ti, xi) for xi, ti in zip(x, t, strict=True)], axis=0)
        # of two different samples, and of one sample with itself
        hessian, drive = x.T @ x / len(x), x.T @ t / len(x)
        apart = hessian @ second @ hessian - np.outer(hessian @ mean, drive)
        apart = apart - np.outer(drive, hessian @ mean) + np.outer(drive, drive)
        same = np.mean(
            [np.outer(xi, xi) * (xi @ second @ xi - 2 * ti * (xi @ mean) + ti**2) for xi, ti in zip(x, t, strict=True)],
            axis=0,
        )
        squared = same / batch + apart * (1 - 1 / batch)
        second = second - H * (cross + cross.T) + H**2 * squared
        mean = mean - H * gradient
        found.append((mean, second))
    return found


def moments_by_epoch(x, t, w, batch, epochs):
    """The same without replacement at the end of each epoch, by all orders of the samples in it."""
    mean, second = w, np.outer(w, w)
    found = [(mean, second)]
    for _ in range(epochs):
        means, seconds = [], []
        for order in itertools.permutations(range(len(x))):
            slope, shift = np.eye(2), np.zeros(2)
            for start in range(0, len(x) - batch + 1, batch):
                rows = list(order[start : start + batch])
                step = np.eye(2) - H * x[rows].T @ x[rows] / batch
                slope, shift = step @ slope, step @ shift + H * x[rows].T @ t[rows] / batch
            means.append(slope @ mean + shift)
            both = np.outer(slope @ mean, shift)
            seconds.append(slope @ second @ slope.T + both + both.T + np.outer(shift, shift))
        mean, second = np.mean(means, axis=0), np.mean(seconds, axis=0)
        found.append((mean, second))
    return found


@pytest.fixture(scope="module")
def seeds(regression):
    """Many seeds of three kinds of batches, as one comparison."""
    net, problem, *_ = regression

    def sgd(batch, **kind):
        return lambda h, key: fm.minibatch(optax.sgd(h), problem, batch, key=key, **kind)

    optimizers = {
        "1 anew": sgd(1, replace=True),
        "2 anew": sgd(2, replace=True),
        "4": sgd(4),
        "all": sgd(SAMPLES),
    }
    return fm.compare_seeds(
        fm.GradientFlow(problem), optimizers, net, H, T1, seeds=np.int64(4000), key=jax.random.key(5)
    )


def standard_errors_off(values, exact):
    return (np.mean(values) - exact) / (np.std(values) / np.sqrt(len(values)))


def flow_at(regression, time):
    """The flow of the mean, in closed form."""
    net, _, x, t = regression
    values, vectors = np.linalg.eigh(x.T @ x / SAMPLES)
    minimum = np.linalg.solve(x.T @ x, x.T @ t)
    return minimum + vectors @ (np.exp(-values * time) * (vectors.T @ (np.asarray(net.weight)[0] - minimum)))


@pytest.mark.parametrize("batch", [1, 2])
def test_with_replacement_mean_loss_and_scatter_follow_the_closed_recursion(regression, seeds, batch):
    net, _, x, t = regression
    w, runs = np.asarray(net.weight)[0], seeds.sel(optimizer=f"{batch} anew")
    moments, of_other = (
        moments_with_replacement(x, t, w, size, int(runs["update"][-1])) for size in (batch, 3 - batch)
    )
    for record in (1, 10, 20):
        mean, second = moments[int(runs["update"][record])]
        losses, distances = (np.asarray(runs[name])[:, record] for name in ("loss", "distance"))
        there = flow_at(regression, float(runs["flow_time"][record]))
        assert abs(standard_errors_off(losses, loss_of_moments(x, t, mean, second))) < 4

        def squared(mean, second, there=there):
            return np.trace(second) - 2 * mean @ there + there @ there

        assert abs(standard_errors_off(distances**2, squared(mean, second))) < 4
        # Half or twice the batch is far off.
        assert abs(standard_errors_off(distances**2, squared(*of_other[record]))) > 20
        scatter = np.sqrt(np.trace(second - np.outer(mean, mean)) / len(losses))
        assert abs(float(runs["distance_of_mean"][record]) - np.linalg.norm(mean - there)) < 4 * scatter


def test_the_variance_is_in_inverse_proportion_to_the_batch(regression, seeds):
    """To the first order in the step size: exactly at the first update."""
    last = seeds.isel(time=[1, 20]).sel(optimizer=["1 anew", "2 anew"])
    variance = (last["distance"] ** 2).mean("seed") - last["distance_of_mean"] ** 2
    np.testing.assert_allclose(variance[0] / variance[1], [2, 2], rtol=0.12)


def test_without_replacement_the_end_of_an_epoch_has_the_moments_of_all_orders(regression, seeds):
    net, _, x, t = regression
    # Six samples are one batch of four and two that wait: an epoch is one update.
    moments = moments_by_epoch(x, t, np.asarray(net.weight)[0], 4, 20)
    losses = np.asarray(seeds["loss"].sel(optimizer="4"))
    for record in (1, 20):
        assert abs(standard_errors_off(losses[:, record], loss_of_moments(x, t, *moments[record]))) < 4


def test_all_samples_are_gradient_descent(regression, seeds):
    net, _, x, t = regression
    w = np.asarray(net.weight)[0]
    for _ in range(round(T1 / H)):
        w = w - H * x.T @ (x @ w - t) / SAMPLES
    expected = np.mean((x @ w - t) ** 2) / 2
    # The order of a sum is another one for each seed: rounding, and nothing else.
    np.testing.assert_allclose(seeds["loss"].sel(optimizer="all")[:, -1], expected, rtol=1e-13)
    assert float(seeds["loss"].sel(optimizer="4")[:, -1].std()) > 1e-3 * expected


def test_bands_are_quantiles_of_runs(seeds):
    assert seeds["loss_band"].dims == ("optimizer", "quantile", "time")
    np.testing.assert_array_equal(seeds["quantile"], [0.05, 0.5, 0.95])
    losses = np.sort(np.asarray(seeds["loss"].sel(optimizer="2 anew"))[:, -1])
    np.testing.assert_array_equal(seeds["loss_band"].sel(optimizer="2 anew")[:, -1], losses[[199, 1999, 3799]])


def by_hand(problem, net, batch, updates, **kind):
    """Iterates of the optax loop that a user would write."""
    optimizer = fm.minibatch(optax.sgd(H), problem, batch, key=jax.random.key(3), **kind)
    state, found = optimizer.init(net), []
    step = eqx.filter_jit(lambda net, state: optimizer.update(net, state, net))
    for _ in range(updates):
        updates_of, state = step(net, state)
        net = eqx.apply_updates(net, updates_of)
        found.append(np.asarray(net.weight)[0])
    return np.array(found)


def test_an_epoch_shows_every_sample_once(regression):
    net, problem, x, t = regression
    moves = np.diff([np.asarray(net.weight)[0], *by_hand(problem, net, 1, 12)], axis=0)
    for epoch in (0, 1):
        w, seen = np.asarray(net.weight)[0] + moves[: 6 * epoch].sum(axis=0), []
        for move in moves[6 * epoch : 6 * epoch + 6]:
            each = [-H * xi * (xi @ w - ti) for xi, ti in zip(x, t, strict=True)]
            seen.append(int(np.argmin(np.linalg.norm(each - move, axis=1))))
            np.testing.assert_allclose(each[seen[-1]], move, atol=1e-14)
            w = w + move
        assert sorted(seen) == list(range(6))


def test_a_batch_size_may_be_traced(regression):
    """With the same draws: the weights of samples that are not in the batch are zero."""
    net, problem, *_ = regression

    def moved(batch):
        optimizer = fm.minibatch(optax.sgd(H), problem, batch, key=jax.random.key(3))
        state, y = optimizer.init(net), net
        for _ in range(3):
            updates, state = optimizer.update(net, state, y)
            y = eqx.apply_updates(y, updates)
        return y.weight

    traced = jax.jit(jax.vmap(moved))(jnp.array([2, 5, 0, SAMPLES + 1]))
    assert np.isnan(traced[2:]).all()  # and not a part of the gradient
    np.testing.assert_allclose(traced[0, 0], by_hand(problem, net, 2, 3)[-1], rtol=1e-12)
    assert np.abs(traced[0] - traced[1]).max() > 1e-3


def test_the_regularizer_and_single_precision_are_kept(regression):
    net, _, x, t = regression
    net = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), net)
    problem = fm.Supervised(net, fm.MeanSquaredError(), x, t[:, None], fm.WeightDecay(0.3))
    optimizer = fm.minibatch(optax.sgd(1.0), problem, SAMPLES, key=jax.random.key(0))
    update = jax.jit(lambda net: optimizer.update(net, optimizer.init(net), net)[0].weight)(net)
    assert update.dtype == jnp.float32
    w = np.asarray(net.weight)[0]
    np.testing.assert_allclose(update[0], -(x.T @ (x @ w - t) / SAMPLES + 0.3 * w), rtol=1e-5)


# --- bad input ---


def test_wrong_input(regression):
    net, problem, *_ = regression
    key, flow = jax.random.key(0), fm.GradientFlow(problem)
    for batch in (0, SAMPLES + 1, 2.0, [2]):
        with pytest.raises(ValueError, match="`batch_size` must be a whole number from 1 to the number of samples, 6"):
            fm.minibatch(optax.sgd(H), problem, batch, key=key)
    with pytest.raises(ValueError, match=r"`problem` must be an `fm.Supervised` with data .* got one without data"):
        fm.minibatch(optax.sgd(H), fm.Supervised(net, fm.MeanSquaredError()), 2, key=key)
    with pytest.raises(ValueError, match=r"`optimizer` must be an optax transformation such as .* got float"):
        fm.minibatch(0.1, problem, 2, key=key)
    optimizer = fm.minibatch(optax.sgd(H), problem, 2, key=key)
    with pytest.raises(ValueError, match="`params` must be given"):
        optimizer.update(net, optimizer.init(net))
    good = {"sgd": lambda h, key: optax.sgd(h)}
    with pytest.raises(ValueError, match="`optimizers` must be a dict from names to functions of the step size and a"):
        fm.compare_seeds(flow, optax.sgd, net, H, T1, key=key)
    with pytest.raises(ValueError, match=r"`optimizers\['sgd'\]` must return an optax transformation, got float"):
        fm.compare_seeds(flow, {"sgd": lambda h, key: 0.1}, net, H, T1, key=key)
    with pytest.raises(ValueError, match="`seeds` must be a positive whole number, got 0"):
        fm.compare_seeds(flow, good, net, H, T1, key=key, seeds=0)
    with pytest.raises(ValueError, match="`seeds` must be a positive whole number, got True"):
        fm.compare_seeds(flow, good, net, H, T1, key=key, seeds=True)
    with pytest.raises(ValueError, match=r"`t1` must be at least as long as an update, 0.05, got 0.01"):
        fm.compare_seeds(flow, good, net, H, 0.01, key=key)
    for bad in (0, None, jax.random.split(key, 2)):
        with pytest.raises(ValueError, match=r"`key` must be one JAX random key, such as `jax.random.key\(0\)`, got"):
            fm.minibatch(optax.sgd(H), problem, 2, key=bad)
        with pytest.raises(ValueError, match="`key` must be one JAX random key"):
            fm.compare_seeds(flow, good, net, H, T1, key=bad)
    with pytest.raises(ValueError, match="`quantiles` must be numbers from 0 to 1"):
        fm.compare_seeds(flow, good, net, H, T1, key=key, quantiles=[50])


def test_a_run_that_is_not_finite_is_the_highest_quantile():
    values = np.array([[[1.0, np.nan], [2.0, 5.0], [3.0, np.inf]]])
    np.testing.assert_array_equal(_bands(values, np.array([0.1, 0.5, 1.0])), [[[1, 5], [2, np.inf], [3, np.inf]]])
