"""Networks in their layerwise metric: distances from independent references, and what a sweep and a ledger cost."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from sklearn.datasets import load_digits

import flowmod as fm
from benchmarks.timing import Row, interleaved, ratio
from flowmod.contraction import leading_mode
from flowmod.discrete import leading_curvature
from tests.discrete.test_networks import minimiser_of
from tests.networks import classification, columns_by_layer, naive_blocks, samples, softmax_factor, tanh_network


def _row(what: str, error: float, limit: float) -> Row:
    return Row(what, f"{error:.1e}", f"<= {limit:.0e}", error <= limit)


def _flat(tree):
    return np.asarray(ravel_pytree(tree)[0])


def _against_the_whole_jacobian() -> list[Row]:
    net, problem = classification(sizes=(5, 4, 3, 3), regularizer=fm.WeightDecay(0.3))
    K = naive_blocks(net, problem.inputs, softmax_factor)
    M = 0.3 * np.eye(K.shape[1])
    for columns in columns_by_layer(net):
        M[np.ix_(columns, columns)] += K[:, columns].T @ K[:, columns]
    step = -np.linalg.solve(M, _flat(jax.grad(problem)(net)))
    rows = []
    for solver in ("direct", "conjugate_gradients"):
        metric = fm.LayerwiseMetric.of(problem, mass=0.3, solver=solver, tolerance=1e-13)
        error = np.abs(_flat(fm.steepest_descent(problem, metric, net)[2]) - step).max()
        rows.append(_row(f"step of three layers, {solver}, against the whole Jacobian", error, 1e-10))
    return rows


def _digits():
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))[:1437]
    net = tanh_network(64, 32, 10, seed=0)
    problem = fm.Supervised(net, fm.SoftmaxCrossEntropy(), images[order] / 16, labels[order])
    return net, problem


def _training() -> list[Row]:
    net, problem = _digits()
    rows = []
    flows = {"Euclidean": fm.GradientFlow(problem)}
    flows["layerwise"] = fm.GradientFlow(problem, fm.LayerwiseMetric.of(problem, mass=0.1))
    for name, flow in flows.items():
        run = fm.simulate(flow, net, 5.0, rtol=1e-9, atol=1e-12)
        what = f"64-32-10 on 1,437 digits, {name}"
        rows.append(_row(f"{what}: ledger at rtol 1e-9", np.abs(run.ledger).max(), 1e-7))
        rows.append(_row(f"{what}: largest inner residual", float(run.inner_residual.max()), 1e-10))
        single = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), net)
        short = fm.simulate(flow, single, ts=np.linspace(0, 5, 5), rtol=2e-6, atol=1e-7)
        exact = fm.simulate(flow, net, ts=np.linspace(0, 5, 5), rtol=1e-9)
        rows.append(
            _row(f"{what}: losses in float32, relative", np.abs(short.potential / exact.potential - 1).max(), 1e-4)
        )
        rows.append(_row(f"{what}: ledger in float32", np.abs(short.ledger).max(), 1e-5))
    mode = leading_mode(flows["layerwise"], net)
    what = f"its rate at the start, {-float(mode.value):.4f} in {int(mode.products)} products: relative residual"
    rows.append(_row(what, float(mode.residual / mode.scale), 1e-6))
    return rows


def _rates() -> Row:
    net = tanh_network(16, 12, 10)
    problem = fm.Supervised(net, fm.SoftmaxCrossEntropy(), *samples(40, 16, 10), regularizer=fm.WeightDecay(0.01))
    flow = fm.GradientFlow(problem, fm.LayerwiseMetric.of(problem, mass=0.1))
    run = fm.simulate(flow, net, ts=np.asarray([0.0, 0.3, 1.0, 3.0, 8.0]))
    lanczos, dense = (fm.contraction_rate(flow, run, method=method) for method in ("lanczos", "dense"))
    return _row(
        "rates of 16-12-10 at five times, Lanczos against dense, relative", np.abs(lanczos / dense - 1).max(), 1e-8
    )


def _step_limits() -> list[Row]:
    """Where a perturbation of 1e-7 stops decaying, by bisection, over what was predicted."""
    net, problem = classification(count=30, sizes=(5, 4, 3), regularizer=fm.WeightDecay(0.02))
    y = minimiser_of(problem, net)
    rows = []
    metrics = {"Euclidean": fm.Euclidean(), "layerwise": fm.LayerwiseMetric.of(problem, mass=0.1)}
    for name, metric in metrics.items():
        flow = fm.GradientFlow(problem, metric)
        limit, direction = float(fm.step_limit(flow, y)), leading_curvature(flow, y).vector

        @jax.jit
        def growth(h, flow=flow, direction=direction):
            start = jax.tree.map(lambda leaf, d: leaf + 1e-7 * d, y, direction)

            def step(z, _):
                return eqx.apply_updates(z, jax.tree.map(lambda v: h * v, flow.vector_field(0.0, z))), None

            end, _ = jax.lax.scan(step, start, length=3000)
            return jnp.linalg.norm(ravel_pytree(end)[0] - ravel_pytree(y)[0])

        low, high = 0.9 * limit, 1.1 * limit
        first = 1e-7 * np.linalg.norm(_flat(direction))
        for _ in range(14):
            middle = (low + high) / 2
            low, high = (middle, high) if float(growth(middle)) < first else (low, middle)
        rows.append(
            _row(f"step limit at a minimiser, {name}: observed over predicted, less one", abs(low / limit - 1), 0.01)
        )
    return rows


def _orders() -> list[Row]:
    net, problem = classification(count=12, sizes=(4, 4, 3))
    flow = fm.GradientFlow(problem, fm.LayerwiseMetric.of(problem, mass=0.3))
    optimizers = {method: lambda h, method=method: fm.discretize(flow, h, method) for method in ("euler", "heun")}
    optimizers["sgd"] = optax.sgd
    found = fm.compare(flow, optimizers, net, np.geomspace(0.004, 0.06, 6), 1.0)["order"].to_series()
    wanted = {"euler": 1.0, "heun": 2.0}
    return [
        _row(f"{name}'s order in the layerwise metric, {found[name]:.3f}: error", abs(found[name] - order), 0.05)
        for name, order in wanted.items()
    ]


def _speed() -> list[Row]:
    net, problem = _digits()
    metric = fm.LayerwiseMetric.of(problem, mass=0.1, tolerance=1e-8)
    flow = fm.GradientFlow(problem, metric)
    fused = jax.jit(lambda y: fm.steepest_descent(problem, metric, y))
    apart = jax.jit(lambda y: fm.steepest_descent(lambda y, args: problem(y, args), metric, y))
    gradient = jax.jit(jax.grad(problem))
    calls = [lambda f=f: jax.block_until_ready(f(net)) for f in (fused, apart, gradient)]
    ours, base, slope = interleaved(*calls, repeats=11)
    rows = [
        ratio("layerwise step on 1,437 digits in one sweep, against gradient and `sharp`", ours, base, 1.05),
        ratio("the same, against the gradient alone", ours, slope, 60.0),
    ]

    @eqx.filter_jit
    def bare(flow, net):
        control = diffrax.PIDController(rtol=1e-6, atol=1e-9)
        save, term = diffrax.SaveAt(t1=True), diffrax.ODETerm(flow.vector_field)
        return diffrax.diffeqsolve(
            term, diffrax.Tsit5(), 0.0, 2.0, None, net, saveat=save, stepsize_controller=control, throw=False
        ).ys

    whole = [lambda: fm.simulate(flow, net, 2.0), lambda: jax.block_until_ready(bare(flow, net))]
    ours, base = interleaved(*whole, repeats=5)
    return [*rows, ratio("a layerwise training run with its ledger, against a bare `diffeqsolve`", ours, base, 1.25)]


def measure() -> list[Row]:
    jax.config.update("jax_enable_x64", True)
    rows = [*_against_the_whole_jacobian(), _rates(), *_step_limits(), *_orders()]
    return [*rows, *_training(), *_speed()]
