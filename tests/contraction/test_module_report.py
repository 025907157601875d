"""Which module limits a whole: rates and gains of blocks against finite differences, and bounds that hold."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from jax.flatten_util import ravel_pytree

import flowmod as fm
from tests.networks import columns_by_layer, regression

NET, PROBLEM = regression(count=6, sizes=(4, 3, 2), regularizer=fm.WeightDecay(0.01))
LAYERWISE = fm.GradientFlow(PROBLEM, fm.LayerwiseMetric.of(PROBLEM, mass=0.1))


@pytest.fixture(scope="module")
def report():
    return fm.module_report(LAYERWISE, NET)


@pytest.fixture(scope="module")
def differences():
    """`J`, `M` and its motion by central differences, all of it and that by the own layer of each block alone."""
    x, unravel = ravel_pytree(NET)
    both = jax.jit(
        lambda x: (ravel_pytree(LAYERWISE.vector_field(0.0, unravel(x)))[0], LAYERWISE.metric(unravel(x)).as_matrix())
    )
    x, h = np.asarray(x), 1e-5

    def along(d):
        """The derivatives of the field and of the metric."""
        ahead, behind = both(x + h * d), both(x - h * d)
        return [(np.asarray(a) - np.asarray(b)) / (2 * h) for a, b in zip(ahead, behind, strict=True)]

    velocity, matrix = map(np.asarray, both(x))
    places = columns_by_layer(NET)
    own = np.zeros((x.size, x.size))
    for place in places:
        block = np.ix_(place, place)
        part = np.where(np.isin(np.arange(x.size), place), velocity, 0)
        own[block] = along(part)[1][block]
    jacobian = np.stack([along(unit)[0] for unit in np.eye(x.size)], axis=1)
    return jacobian, matrix, along(velocity)[1], own, places


def naive(jacobian, metric, motion, places):
    """Rates and gains from the Cholesky factor of each block."""
    factors = [np.linalg.cholesky(metric[np.ix_(place, place)]).T for place in places]
    rates, gains = [], np.zeros((len(places), len(places)))
    for a, (here, theta) in enumerate(zip(places, factors, strict=True)):
        block = np.ix_(here, here)
        inverse = np.linalg.inv(theta)
        s = motion[block] / 2 + metric[block] @ jacobian[block]
        rates.append(-np.linalg.eigvalsh(inverse.T @ (s + s.T) / 2 @ inverse).max())
        for b, (there, other) in enumerate(zip(places, factors, strict=True)):
            if a != b:
                gains[a, b] = np.linalg.svd(theta @ jacobian[np.ix_(here, there)] @ np.linalg.inv(other))[1][0]
    return np.array(rates), gains


def test_rates_and_gains_of_layers_against_finite_differences(report, differences):
    jacobian, metric, motion, own, places = differences
    rates, gains = naive(jacobian, metric, motion, places)
    np.testing.assert_allclose(report.rates, rates, atol=1e-7)
    np.testing.assert_allclose(report.gains, gains, atol=1e-7)
    # Negative controls: the motion by the other layers is not small, and gains have a direction.
    assert np.abs(naive(jacobian, metric, own, places)[0] - rates).max() > 1e-2
    assert np.abs(gains.T - gains).max() > 1e-2


def test_rates_of_the_whole_and_the_sum_of_the_shares(report, differences):
    jacobian, metric, motion, *_ = differences
    s = motion / 2 + metric @ jacobian
    np.testing.assert_allclose(report.rate, -scipy.linalg.eigh((s + s.T) / 2, metric)[0][-1], atol=1e-7)
    np.testing.assert_allclose(report.shares.sum(), report.bound, rtol=1e-9)
    np.testing.assert_allclose(report.participation.sum(), 1)
    assert report.rate < 0  # a small tanh network does not contract in its own metric
    # The slope of the bound in a rate is the module's participation.
    moved = report.rates + 1e-6 * np.eye(2)
    slopes = [(fm.compose.network(rates, report.gains).rate - report.bound) / 1e-6 for rates in moved]
    np.testing.assert_allclose(slopes, report.participation, atol=1e-5)


def test_the_bound_holds_for_networks_of_all_sizes_of_weights():
    for scale in np.geomspace(0.1, 3, 12):
        found = fm.module_report(LAYERWISE, jax.tree.map(lambda leaf, scale=scale: scale * leaf, NET))
        assert found.bound <= found.weighted_rate
        assert (found.parameter_lipschitz <= found.parameter_bound * (1 + 1e-12)).all()


def test_constants_of_layers_against_explicit_jacobians(report):
    z, steps = np.asarray(PROBLEM.inputs), []
    for k in (0, 2):
        weight, bias = np.asarray(NET.layers[k].weight), np.asarray(NET.layers[k].bias)
        out = z @ weight.T + bias
        slope = 1 / np.cosh(out) ** 2 if k < 2 else np.ones_like(out)
        by_weights = np.einsum("no,op,nq->nopq", slope, np.eye(len(weight)), np.c_[z, np.ones(6)])
        steps.append((slope[:, :, None] * weight, by_weights.reshape(*out.shape, -1)))
        z = np.tanh(out) if k < 2 else out
    chain, measured, bounds, after = np.eye(2), [], [], 1.0
    for by_input, by_weights in reversed(steps):
        measured.insert(0, largest(chain @ by_weights))
        bounds.insert(0, after * largest(by_weights))
        chain, after = chain @ by_input, after * largest(by_input)
    np.testing.assert_allclose(report.parameter_lipschitz, measured, rtol=1e-10)
    np.testing.assert_allclose(report.parameter_bound, bounds, rtol=1e-10)
    np.testing.assert_allclose(report.input_lipschitz, [largest(by_input) for by_input, _ in steps], rtol=1e-10)
    np.testing.assert_array_equal(report.condition, fm.layer_report(LAYERWISE, NET, jnp.zeros(())).condition)


def largest(matrices):
    """The largest spectral norm of the samples."""
    return np.linalg.norm(matrices, 2, axis=(1, 2)).max()


def test_a_report_names_what_limits_and_has_a_table(report):
    assert report.modules == LAYERWISE.metric.layers == ("layers.0", "layers.2")
    assert report.parameters == (15, 8)
    assert report.limiting_module == report.modules[np.argmax(report.participation)]
    source, into = (report.modules.index(name) for name in report.limiting_coupling)
    np.testing.assert_allclose(report.shares[into, source], report.shares.min(), rtol=1e-6)
    assert f"module '{report.limiting_module}', coupling from '{report.modules[source]}' into" in str(report)
    frame = report.to_dataframe()
    np.testing.assert_array_equal(frame["gain from layers.2"], report.gains[:, 1])
    np.testing.assert_array_equal(frame["rates"], report.rates)


# --- systems of other modules ---


SIZES = (2, 2, 1)
PARTS = (slice(0, 2), slice(2, 4), slice(4, 5))


def linear(t, y, args):
    """A coupled system of three modules: `y' = A y`."""
    x = args[0] @ jnp.concatenate([y["a"], y["b"], y["c"]])
    return {name: x[part] for name, part in zip("abc", PARTS, strict=True)}


def scaled(y, args):
    """A metric whose blocks grow with the states of other modules."""
    growth = (jnp.exp(jnp.sum(y["b"])), 1 + jnp.sum(y["a"] ** 2), jnp.exp(-y["a"][0]))
    scale = jnp.sqrt(jnp.concatenate([jnp.full(n, factor) for n, factor in zip(SIZES, growth, strict=True)]))
    return scale[:, None] * args[1] * scale[None]


SYSTEM = fm.VectorField(linear, fm.DenseMetric(scaled))


def case(rng):
    """A random state, and a random coupling with a random block-diagonal metric."""
    matrix = rng.normal(size=(5, 5)) * rng.choice([0.1, 1, 10], size=(5, 5)) - np.diag(rng.exponential(5, size=5))
    roots = [rng.normal(size=(n, n)) for n in SIZES]
    metric = scipy.linalg.block_diag(*(root @ root.T + 0.1 * np.eye(len(root)) for root in roots))
    y = {name: jnp.asarray(rng.normal(size=n)) for name, n in zip("abc", SIZES, strict=True)}
    return y, (jnp.asarray(matrix), jnp.asarray(metric))


def test_the_bound_holds_for_random_systems():
    rng, gaps = np.random.default_rng(0), []
    for _ in range(300):
        y, args = case(rng)
        found = fm.module_report(SYSTEM, y, args=args)
        assert found.bound <= found.weighted_rate + 1e-9 * (1 + np.abs(found.rates).max())
        gaps.append(found.bound - found.rate)
    # In the metric as it is the bound may well be above the rate: the weights are what it is about.
    assert np.mean(np.array(gaps) > 1e-3) > 0.1


def test_blocks_of_the_generalized_jacobian():
    y, args = case(np.random.default_rng(1))
    found = fm.module_report(SYSTEM, y, args=args)
    F = np.asarray(eqx.filter_jit(fm.generalized_jacobian)(SYSTEM, y, args=args))
    for a, here in enumerate(PARTS):
        np.testing.assert_allclose(found.rates[a], slowest(F[here, here]), rtol=1e-9)
        gains = [0 if a == b else np.linalg.norm(F[here, there], 2) for b, there in enumerate(PARTS)]
        np.testing.assert_allclose(found.gains[a], gains, rtol=1e-10)
    weight = np.repeat(np.sqrt(found.weights), SIZES)
    np.testing.assert_allclose(found.weighted_rate, slowest(weight[:, None] * F / weight[None]), rtol=1e-9)


def slowest(F):
    return -np.linalg.eigvalsh((F + F.T) / 2)[-1]


DESCENT = fm.GradientFlow(
    lambda y, args: jnp.sum(jnp.sin(args[0] @ jnp.concatenate([y["a"], y["b"], y["c"]]))), SYSTEM.metric
)


def test_lanczos_gives_what_matrices_do():
    """A gradient flow in its own metric takes a way without a derivative of a solve."""
    agree(DESCENT, *case(np.random.default_rng(2)))


@pytest.mark.parametrize("method", ["dense", "lanczos"])
def test_a_coupling_in_the_metric_is_seen_beside_large_numbers(method):
    y, (matrix, _) = case(np.random.default_rng(3))
    metric = np.diag([1e10, 1.0, 1e10, 1.0, 1.0])  # two modules with a heavy and a light number each
    fm.module_report(DESCENT, y, 0.3, (matrix, jnp.asarray(metric)), method="dense")
    metric[1, 3] = metric[3, 1] = 0.9
    with pytest.raises(ValueError, match=r"block diagonal over the modules, but couples 'a' and 'b' at t = 0.3"):
        fm.module_report(DESCENT, y, 0.3, (matrix, jnp.asarray(metric)), method=method)


def agree(flow, y, args):
    dense, products = (fm.module_report(flow, y, 0.3, args, method=method) for method in ("dense", "lanczos"))
    for name in ("rates", "gains", "rate", "bound", "weighted_rate"):
        np.testing.assert_allclose(getattr(products, name), getattr(dense, name), rtol=1e-8, err_msg=name)
    assert not np.array_equal(products.gains, dense.gains)


@pytest.mark.slow
def test_lanczos_gives_what_matrices_do_for_a_network():
    agree(LAYERWISE, NET, None)


def test_two_numbers_by_hand():
    flow = fm.VectorField(
        lambda t, y, args: (-2 * y[0] + 0.5 * y[1], 3 * y[0] - y[1]),
        fm.DiagonalMetric(lambda y, args: (jnp.asarray(4.0), jnp.exp(y[0]))),
    )
    y = (jnp.asarray(0.2), jnp.asarray(-0.1))
    found = fm.module_report(flow, y)
    assert found.modules == ("0", "1")
    speed = -2 * 0.2 + 0.5 * -0.1
    np.testing.assert_allclose(found.rates, [2, 1 - speed / 2])
    k12, k21 = 0.5 * 2 * np.exp(-0.1), 3 * np.exp(0.1) / 2
    np.testing.assert_allclose(found.gains, [[0, k12], [k21, 0]])
    l1, l2 = found.rates
    np.testing.assert_allclose(found.bound, (l1 + l2) / 2 - np.sqrt((l1 - l2) ** 2 / 4 + k12 * k21), rtol=1e-9)
    np.testing.assert_allclose(found.weights[1] / found.weights[0], k12 / k21, rtol=1e-4)
    np.testing.assert_allclose(found.weighted_rate, found.bound, rtol=1e-9)  # of two numbers that push it is attained
    assert found.rate < found.bound
    assert found.limiting_module == "1"
    np.testing.assert_allclose(found.headroom, np.sqrt(l1 * l2 / (k12 * k21)), rtol=1e-6)
    # Negative control: the motion of the second metric by the first module matters.
    assert abs(found.rates[1] - 1) > 0.1
    assert not np.isfinite(found.condition).any()
    assert "lipschitz" not in str(found)


class Pair(eqx.Module):
    u: jax.Array
    v: jax.Array
    name: str = eqx.field(static=True, default="pair")


def test_an_equinox_module_has_its_fields_and_an_array_is_one_module():
    apart = fm.VectorField(lambda t, y, args: jax.tree.map(lambda leaf: -leaf, y))
    found = fm.module_report(apart, Pair(jnp.ones(2), jnp.ones(3)))
    assert (found.modules, found.parameters) == (("u", "v"), (2, 3))
    np.testing.assert_allclose(found.rates, 1)
    assert found.bound == found.rate == 1
    assert found.limiting_coupling is None
    alone = fm.module_report(apart, jnp.ones(2, jnp.float32))
    assert (alone.modules, alone.rates.dtype) == (("state",), np.float32)


def test_a_wired_system_has_its_modules_by_name():
    """A ring of leaky modules in metrics of their own: rates and gains by hand."""

    def leaky(name, leak, weight):
        metric = fm.DiagonalMetric(lambda y, args: jnp.full_like(y, weight))
        return fm.Dynamical(lambda t, x, u, args: -leak * x + u, metric, input=jnp.zeros(2), name=name)

    ring = fm.network(
        [leaky("a", 1.0, 1.0), leaky("b", 2.0, 4.0), leaky("c", 3.0, 9.0)], {(1, 0): 0.5, (2, 1): 0.7, (0, 2): -0.2}
    )
    found = fm.module_report(ring, {name: jnp.ones(2) for name in "abc"})
    assert found.modules == ("a", "b", "c")
    np.testing.assert_allclose(found.rates, [1, 2, 3])
    np.testing.assert_allclose(found.gains, [[0, 0, 0.2 / 3], [0.5 * 2, 0, 0], [0, 0.7 * 3 / 2, 0]], atol=1e-15)
    weights = dict(zip(found.modules, found.weights, strict=True))
    whole = fm.contraction_rate(ring.weighted(weights), {name: jnp.ones(2) for name in "abc"})
    np.testing.assert_allclose(found.weighted_rate, whole, rtol=1e-9)
    assert 0 < found.bound <= whole


SHRINKING = fm.VectorField(
    lambda t, y, args: {"left": -y["left"] + 0.5 * y["right"][:1], "right": -jnp.ones_like(y["right"])},
    fm.DiagonalMetric(lambda y, args: {"left": 1 + y["left"] ** 2, "right": y["right"]}),
)


def shrinking(*ts):
    return fm.simulate(SHRINKING, {"left": jnp.ones(1), "right": jnp.ones(2)}, ts=np.array(ts))


def test_a_report_along_a_run_has_an_axis_of_times():
    run = shrinking(0.0, 0.4, 0.8)
    found = fm.module_report(SHRINKING, run)
    assert found.gains.shape == (3, 2, 2)
    np.testing.assert_array_equal(found.t, run.ts)
    left, right = run.ys["left"][:, 0], run.ys["right"][:, 0]
    weight = 1 + left**2
    rates = np.stack([1 - left * (right / 2 - left) / weight, 1 / (2 * right)], axis=1)
    np.testing.assert_allclose(found.rates, rates)
    np.testing.assert_allclose(found.gains[:, 0, 1], 0.5 * np.sqrt(weight / right))
    np.testing.assert_array_equal(found.gains[:, 1, 0], 0)
    # A hierarchy: its bound comes as close to the slower module as the weights may drift apart.
    np.testing.assert_allclose(found.bound, rates.min(axis=1), atol=1e-3)
    assert (found.bound <= found.weighted_rate).all()
    assert found.limiting_module == tuple("left" if slow else "right" for slow in rates[:, 0] < rates[:, 1])
    assert len(set(found.limiting_module)) == 2
    assert found.limiting_coupling == (("right", "left"),) * 3
    assert str(found).startswith(f"3 states, the last of them:\n{found.at(-1)}")
    with pytest.raises(ValueError, match=r"report is one of 3 states.*report.at\(-1\)"):
        found.to_dataframe()
    products = fm.module_report(SHRINKING, run, method="lanczos")
    for name in ("rates", "gains", "rate", "bound", "weighted_rate"):
        np.testing.assert_allclose(getattr(products, name), getattr(found, name), rtol=1e-8, err_msg=name)


def test_a_metric_that_degenerates_on_the_way_is_named_with_state_time_and_module():
    run = shrinking(0.0, 0.5, 1.5)
    for method in ("dense", "lanczos"):
        with pytest.raises(ValueError, match=r"no metric at t = 1.5 \(state 2 of the run\) in module 'right'.*-0.5"):
            fm.module_report(SHRINKING, run, method=method)
    logs = fm.DiagonalMetric(lambda y, args: {"left": jnp.log(y["left"]), "right": y["right"]})
    with pytest.raises(ValueError, match=r"no metric at t = 0.25 in module 'left', where it is not finite"):
        fm.module_report(SHRINKING, {"left": -jnp.ones(1), "right": jnp.ones(2)}, 0.25, metric=logs)
    root = fm.VectorField(lambda t, y, args: {"left": -y["left"], "right": -jnp.sqrt(y["right"])})
    with pytest.raises(ValueError, match=r"The rate of module 'right' is not finite at t = 0"):
        fm.module_report(root, {"left": jnp.ones(1), "right": jnp.zeros(2)})


def test_bad_input():
    full = fm.GradientFlow(PROBLEM, fm.FullMetric.of(PROBLEM, mass=0.1))
    y, (matrix, metric) = case(np.random.default_rng(3))
    with pytest.raises(ValueError, match=r"block diagonal over the modules, but couples 'a' and 'b' at t = 0"):
        fm.module_report(SYSTEM, y, args=(matrix, metric + 1))
    with pytest.raises(ValueError, match="`method` must be"):
        fm.module_report(full, NET, method="qr")
    with pytest.raises(ValueError, match="`y` is traced"):
        jax.jit(lambda y: fm.module_report(full, y).rate)(NET)
    with pytest.raises(ValueError, match="take a member"):
        fm.module_report(SYSTEM, object.__new__(fm.Ensemble))
    with pytest.raises(ValueError, match="at least one float array"):
        fm.module_report(SYSTEM, ())
    with pytest.raises(ValueError, match="`flow` must be a flow"):
        fm.module_report(NET, NET)
