"""At the edge of stability: what a central flow predicts of a network on digits, and what a step of it costs.

The network, 64-96-48-10 with `tanh`, has 11,386 parameters and 200 images, all of them in each step. The step sizes
are such that the edge is reached in the first quarter of the run. The preconditioned run has a diagonal metric, frozen
at the start: the diagonal of the Gauss-Newton matrix and a mass of a hundredth of its largest entry.
"""

import functools
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np

import flowmod as fm
from benchmarks.cases import digits_problem
from benchmarks.timing import Row, interleaved
from flowmod._tree import ravel
from flowmod.discrete.central._average import curvature_slopes
from flowmod.discrete.central._march import RTOL, Course, Tracked, central_step, first_vectors, track
from flowmod.metric import hessian_product, value_and_covector

_SIZES, _COUNT, _DIRECTIONS, _MASS = (64, 96, 48, 10), 200, 6, 0.01
_LAST = 500
"""Steps at the end whose means are compared."""

RUNS = {
    "gradient descent": (0.12, 2200, "euler", None),
    "preconditioned": (0.0025, 2200, "euler", None),
    "heavy ball": (0.18, 1100, "heavy_ball", 0.5),
}
"""Step size, steps, method and momentum."""


def case(name: str):
    """The start and the gradient flow of a run."""
    net, problem = digits_problem(_COUNT, _SIZES, "least squares")
    if name != "preconditioned":
        return net, fm.GradientFlow(problem)
    jacobian = jax.jacrev(lambda net: jax.vmap(net)(problem.inputs))(net)
    diagonal = jax.tree.map(lambda leaf: jnp.sum(leaf**2, axis=(0, 1)) / _COUNT + _MASS, jacobian)
    operator = lx.TaggedLinearOperator(lx.DiagonalLinearOperator(diagonal), lx.positive_semidefinite_tag)
    return net, fm.GradientFlow(problem, fm.ConstantMetric(operator))


def run(name: str):
    """The dataset of a run."""
    net, flow = case(name)
    step_size, steps, method, momentum = RUNS[name]
    return fm.edge_of_stability(flow, net, step_size, steps, method, momentum, directions=_DIRECTIONS)


def _predictions(name: str) -> list[Row]:
    started = time.perf_counter()
    dataset = run(name)
    seconds = time.perf_counter() - started
    end, tail = dataset.isel(step=-1), dataset.isel(step=slice(-_LAST, None))
    ratio = float(end["distance_flow"] / end["distance_central"])
    mean, predicted = (float(tail[key].mean()) for key in ("loss", "predicted_loss"))
    sharpness = float(tail["sharpness"].mean()) / dataset.attrs["threshold"]
    variances = [float(tail[key].sum("direction").mean()) for key in ("predicted_variance", "measured_variance")]
    reached = int(np.argmax(np.asarray(dataset["critical"]) > 0))
    shown = f"{ratio:.1f} x ({float(end['distance_flow']):.3g} and {float(end['distance_central']):.3g})"
    what = f"{name}, {dataset.sizes['step'] - 1} steps, edge at step {reached}, {seconds:.0f} s: "
    last = f"{name}, the last {_LAST} steps: "
    wrong = abs(predicted / mean - 1)
    spread = abs(variances[0] / variances[1] - 1)
    shown_mean = f"{100 * wrong:.1f} % ({predicted:.4g} against {mean:.4g})"
    shown_variance = f"{100 * spread:.0f} % ({variances[0]:.2e} against {variances[1]:.2e})"
    return [
        Row(what + "distance from the gradient flow over that from the central flow", shown, ">= 10 x", ratio >= 10),
        Row(last + "predicted mean loss against the mean", shown_mean, "<= 5 %", wrong <= 0.05),
        Row(last + "sharpness over the threshold", f"{sharpness:.3f}", "0.95 to 1.05", abs(sharpness - 1) <= 0.05),
        Row(last + "predicted variance against the measured one", shown_variance, "<= 50 %", spread <= 0.5),
    ]


def _costs() -> list[Row]:
    """One step where several directions are critical, against its own derivatives, and warm starts against cold."""
    net, flow = case("gradient descent")
    step_size, *_ = RUNS["gradient descent"]
    course, at = _at_the_edge(net, flow, step_size, 1000)
    arrays, static = eqx.partition(course, eqx.is_array)

    def compiled(function):
        call = jax.jit(lambda arrays, *operands: function(eqx.combine(arrays, static), *operands))
        return functools.partial(call, arrays)

    count = jnp.asarray(1000, jnp.int32)
    step = compiled(lambda course, at: central_step(course, 0.0, at, count))
    _, seen = step(at)
    critical = int(jnp.sum(course.central.threshold_in(at.flat.dtype).is_near(seen.values[:_DIRECTIONS])))
    pairs, products = course.substeps * critical * (critical + 1) // 2, int(seen.products)
    block = len(at.vectors)

    def gradient(course, flat):
        return ravel(value_and_covector(course.central.potential, course.state(flat), None)[1])

    def hessians(course, at):
        product = hessian_product(course.central.potential, course.state(at.flat))
        return jax.lax.fori_loop(0, products // block, lambda _, held: jax.vmap(product)(held), at.vectors)

    def slopes(course, at):
        first, second = at.vectors[:2]
        return curvature_slopes(course.central.potential, course.state(at.flat), None, first)(second)

    calls = [compiled(function) for function in (hessians, slopes)]
    timed = [functools.partial(_ready, call, at) for call in (step, *calls)]
    timed.append(functools.partial(_ready, compiled(gradient), at.flat))
    seconds, of_products, of_slope, of_gradient = interleaved(*timed, repeats=9)
    whole = of_products + course.substeps * of_gradient + pairs * of_slope
    shown = f"{seconds / whole:.2f} x ({1e3 * seconds:.3g} ms; {products} products, {pairs} third derivatives)"
    without = f"{seconds / (whole - pairs * of_slope):.2f} x"
    searches = [compiled(functools.partial(_search, warm=warm)) for warm in (True, False)]
    warm, cold = (int(search(at, count)) for search in searches)
    what = f"{critical} critical directions, a step of the central flow over its gradients, products"
    return [
        Row(f"{what} and third derivatives", shown, "<= 1.5 x", seconds <= 1.5 * whole),
        Row(f"{what} only", without, "reported", True),
        Row(f"products to a residual of {RTOL:g}, warm and cold", f"{warm}, {cold}", "<= half", 2 * warm <= cold),
    ]


def _search(course, at, count, warm):
    return track(course, 0.0, at, count, _DIRECTIONS, warm).products


def _ready(call, operand):
    return jax.block_until_ready(call(operand))


def _at_the_edge(net, flow, step_size, steps):
    """The central flow's state after so many steps."""
    central = fm.central_flow(flow, step_size, directions=_DIRECTIONS)
    course = Course(central, net, None, 2)
    flat = ravel(net)

    @eqx.filter_jit
    def advance(course, at):
        return jax.lax.fori_loop(0, steps, lambda i, at: central_step(course, 0.0, at, i)[0], at)

    return course, advance(course, Tracked(flat, first_vectors(_DIRECTIONS, flat)))


def measure() -> list[Row]:
    """All rows."""
    jax.config.update("jax_enable_x64", True)
    return [row for name in RUNS for row in _predictions(name)] + _costs()
