"""Growth rates at any size: where dense and matrix-free cross, what a point costs along a run, and 10^5 parameters."""

import functools
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

import flowmod as fm
from benchmarks.cases import digits, temporary_mib
from benchmarks.scaling import fitted_exponent
from benchmarks.timing import Row, interleaved
from flowmod.contraction._extremes import Subject, Wanted, extremes_at
from tests.networks import tanh_network

_MASS = 0.1
_MOST_DENSE = 1100
"""Parameters beyond which the pencil is not formed: the next size would take minutes."""

SIZES = ((1, 1), (2, 2, 1), (4, 3, 3), (8, 7, 4), (16, 12, 10), (32, 24, 10), (64, 36, 10), (64, 128, 10))
LARGE = ((64, 128, 128, 10), (64, 284, 284, 10))
"""Widths of networks from 2 to 10^5 parameters."""


def _flow(sizes, count: int = 40):
    """A network with random data in its layerwise metric."""
    net = tanh_network(*sizes)
    inputs, targets = (jax.random.normal(jax.random.key(seed), (count, sizes[end])) for seed, end in ((2, 0), (3, -1)))
    problem = fm.Supervised(net, fm.MeanSquaredError(), inputs, targets, regularizer=fm.WeightDecay(0.01))
    return net, fm.GradientFlow(problem, fm.LayerwiseMetric.of(problem, mass=_MASS))


def _parameters(net) -> int:
    return ravel_pytree(net)[0].size


def _spectrum(flow, net, method: str) -> fm.Spectrum:
    return jax.block_until_ready(fm.contraction_spectrum(flow, net, method=method))


def _scaling() -> list[Row]:
    """Milliseconds a point by size; both routes find the rate, Lanczos to the residual that is its default."""
    seconds: dict[str, list[float]] = {"dense": [], "lanczos": []}
    counts, products = [], []
    for sizes in (*SIZES, *LARGE):
        net, flow = _flow(sizes)
        n = _parameters(net)
        methods = ["lanczos", "dense"] if n <= _MOST_DENSE else ["lanczos"]
        calls = [functools.partial(_spectrum, flow, net, method) for method in methods]
        for method, median in zip(methods, interleaved(*calls, repeats=5), strict=True):
            seconds[method].append(median)
        counts.append(n)
        products.append(int(_spectrum(flow, net, "lanczos").products))
    rows = []
    for method, times in seconds.items():
        exponent = fitted_exponent(counts[: len(times)][-4:], times[-4:])
        shown = ", ".join(f"{n}: {1e3 * s:.2g}" for n, s in zip(counts, times, strict=False))
        what = f"{method}, ms a point by parameters, and the exponent of the last four"
        rows.append(Row(what, f"{exponent:.2f} ({shown})", "<= 3", exponent <= 3))
    shown = ", ".join(f"{n}: {p}" for n, p in zip(counts, products, strict=True))
    rows.append(Row("products from a random start by parameters", shown, "<= 400", max(products) <= 400))
    return [*rows, _crossing(counts, seconds)]


def _crossing(counts, seconds) -> Row:
    """Where the two take the same time, between two sizes by their logarithms."""
    both = len(seconds["dense"])
    ratios = np.log(np.asarray(seconds["dense"]) / np.asarray(seconds["lanczos"][:both]))
    last = max((k for k in range(both - 1) if ratios[k] < 0 <= ratios[k + 1]), default=None)
    if last is None:
        return Row("where dense and matrix-free cross", "not among these sizes", "50 to 400", False)
    share = ratios[last] / (ratios[last] - ratios[last + 1])
    n = float(np.exp((1 - share) * np.log(counts[last]) + share * np.log(counts[last + 1])))
    return Row("where dense and matrix-free cross", f"{n:.0f} parameters", "50 to 400", 50 <= n <= 400)


def _agreement() -> Row:
    """Both ends of 300 numbers, in a metric that depends on the state."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 300, 300)) / np.sqrt(300)
    y = jnp.asarray(rng.normal(size=300))

    def potential(y, args):
        return jnp.sum(jnp.tanh(a @ jnp.tanh(b @ y)) ** 2) + 0.05 * jnp.sum(y**4)

    def mass(y, args):
        row = a * jnp.cos(y)[:, None] + 0.3 * b
        return jnp.eye(300) + row.T @ row

    flow = fm.GradientFlow(potential, fm.DenseMetric(mass))
    free, dense = (fm.contraction_spectrum(flow, y, k=3, method=method) for method in ("lanczos", "dense"))
    ends = [np.abs(getattr(free, end) - getattr(dense, end)).max() for end in ("largest", "smallest")]
    error = float(max(ends) / dense.scale)
    return Row("300 numbers, three at each end, matrix-free against dense", f"{error:.1e}", "<= 1e-08", error <= 1e-8)


def demo_run():
    """The demo's network with all its images, and times closer to each other than the demo's."""
    net = tanh_network(64, 32, 10)
    problem = fm.Supervised(net, fm.SoftmaxCrossEntropy(), *digits(1437))
    flow = fm.GradientFlow(problem, fm.LayerwiseMetric.of(problem, mass=_MASS))
    return flow, fm.simulate(flow, net, ts=np.concatenate([[0.0], np.geomspace(0.05, 10, 48)]), rtol=1e-6)


def _along_the_demo() -> list[Row]:
    flow, run = demo_run()
    fm.contraction_spectrum(flow, run, method="lanczos", rtol=1e-3)  # compiles
    started = time.perf_counter()
    found = fm.contraction_spectrum(flow, run, method="lanczos", rtol=1e-3)
    seconds = (time.perf_counter() - started) / len(run)
    residual = float((found.largest_residuals[:, 0] / found.scale).max())
    warm = found.products[1:]
    what = f"64-32-10 on 1,437 digits, layerwise, {len(run)} times: "
    shown = f"{np.median(warm):.0f} (most {warm.max()}, {np.sum(warm > 60)} above 60); first {found.products[0]}"
    return [
        Row(what + "products a point, both ends and second start", shown, "<= 60", bool(np.median(warm) <= 60)),
        Row(what + "largest relative residual", f"{residual:.1e}", "<= 1e-03", residual <= 1e-3),
        Row(what + "seconds a point", f"{seconds:.2f}", "<= 3", seconds <= 3),
        Row(what + "converged", f"{found.converged.sum()} of {len(run)}", "all", bool(found.converged.all())),
    ]


def _large() -> list[Row]:
    """The rate of 10^5 parameters: time and memory beside those of one gradient."""
    rows = []
    for name, count in (("Euclidean", 1437), ("layerwise", 256)):
        net = tanh_network(*LARGE[-1])
        problem = fm.Supervised(net, fm.SoftmaxCrossEntropy(), *digits(count))
        flow = fm.GradientFlow(problem, fm.LayerwiseMetric.of(problem, mass=_MASS) if name == "layerwise" else None)
        # The data are arguments: what a program has as constants it may work out when it is compiled.
        arrays, static = eqx.partition(flow, eqx.is_array)

        @jax.jit
        def rate(arrays, y, static=static):
            subject = Subject(eqx.combine(arrays, static), None, None, None)
            return extremes_at(0.0, y, None, subject, Wanted(rtol=jnp.asarray(1e-3)))

        @jax.jit
        def gradient(arrays, y, static=static):
            return jax.grad(eqx.combine(arrays, static).potential)(y, None)

        mib, base = temporary_mib(rate, arrays, net), temporary_mib(gradient, arrays, net)
        jax.block_until_ready(rate(arrays, net))
        started = time.perf_counter()
        found = jax.block_until_ready(rate(arrays, net))
        seconds = time.perf_counter() - started
        what = f"{_parameters(net):,} parameters, {name}, {count:,} images: "
        residual = float(found.residuals[0] / found.scale)
        shown = f"rate {-float(found.values[0]):.4f}, relative residual {residual:.1e}, {int(found.products)} products"
        met = seconds < 60 and bool(found.converged)
        rows.append(Row(what + "seconds", f"{seconds:.1f} ({shown})", "< 60", met))
        shown = f"{mib / base:.1f} x ({mib:.0f} against {base:.0f} MiB)"
        rows.append(Row(what + "memory over a gradient's", shown, "<= 30 x", mib <= 30 * base))
    return rows


def measure() -> list[Row]:
    """All rows."""
    jax.config.update("jax_enable_x64", True)
    return [_agreement(), *_scaling(), *_along_the_demo(), *_large()]
