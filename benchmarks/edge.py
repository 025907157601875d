"""At the edge of stability: what a central flow predicts of a network on digits, and what a step of it costs.

The network, 64-96-48-10 with `tanh`, has 11,386 parameters and 200 images, all of them in each step. The step sizes
are such that the edge is reached in the first quarter of the run. The preconditioned run has a diagonal metric, frozen
at the start: the diagonal of the Gauss-Newton matrix and a mass of a hundredth of its largest entry.
"""

import functools
import sys
import time
from collections.abc import Iterator

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np

import flowmod as fm
from benchmarks.cases import digits_problem
from benchmarks.timing import Row, interleaved, ratio
from flowmod._tree import ravel
from flowmod.discrete.central._average import curvature_slopes
from flowmod.discrete.central._march import RTOL, Course, Tracked, central_step, first_vectors, track
from flowmod.metric import hessian_product, value_and_covector

_SIZES, _COUNT, _DIRECTIONS, _MASS = (64, 96, 48, 10), 200, 6, 0.01
_LAST = 500
"""Steps at the end whose means are compared."""

_COUNTED = 1000
"""Steps before the one whose cost is measured."""

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
    """One step where several directions are critical, against its own derivatives."""
    course, at = _at_the_edge()
    compiled = functools.partial(_compiled, course)
    step = compiled(lambda course, at: central_step(course, 0.0, at, jnp.asarray(_COUNTED)))
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
    alone = of_products + course.substeps * of_gradient
    whole = alone + pairs * of_slope
    what = f"{critical} critical directions, a step of the central flow over"
    counts = f"{course.substeps} gradients and {products} products"
    return [
        _cost(f"{what} its {counts}", seconds, alone),
        _cost(f"{what} its {counts} and {pairs} third derivatives", seconds, whole),
    ]


def _cost(what: str, seconds: float, parts: float) -> Row:
    return ratio(what, seconds, parts, 1.5)


def _warm_starts() -> list[Row]:
    """The products of a search from the last eigenvectors, and from random ones, at the same state."""
    course, at = _at_the_edge()
    warm, cold = (int(_compiled(course, functools.partial(_search, warm=warm))(at, _COUNTED)) for warm in (True, False))
    return [Row(f"products to a residual of {RTOL:g}, warm and cold", f"{warm}, {cold}", "<= half", 2 * warm <= cold)]


def _search(course, at, count, warm):
    return track(course, 0.0, at, count, _DIRECTIONS, warm).products


def _ready(call, operand):
    return jax.block_until_ready(call(operand))


def _compiled(course, function):
    """A function of a course and more, with the arrays of the course as operands: else they would be constants."""
    arrays, static = eqx.partition(course, eqx.is_array)
    call = jax.jit(lambda arrays, *operands: function(eqx.combine(arrays, static), *operands))
    return functools.partial(call, arrays)


@functools.cache
def _at_the_edge():
    """The central flow's state after so many steps of gradient descent as are counted."""
    net, flow = case("gradient descent")
    central = fm.central_flow(flow, RUNS["gradient descent"][0], directions=_DIRECTIONS)
    course = Course(central, net, None, 2)
    flat = ravel(net)

    @eqx.filter_jit
    def advance(course, at):
        return jax.lax.fori_loop(0, _COUNTED, lambda i, at: central_step(course, 0.0, at, i)[0], at)

    return course, advance(course, Tracked(flat, first_vectors(_DIRECTIONS, flat)))


PARTS = {name: functools.partial(_predictions, name) for name in RUNS} | {"cost": _costs, "warm starts": _warm_starts}


def measure(*names: str) -> Iterator[Row]:
    """The rows of the parts with these names, of all without any, as they come: one that fails is a row, too."""
    jax.config.update("jax_enable_x64", True)
    for name in names or PARTS:
        try:
            yield from PARTS[name]()
        except Exception as error:  # the others are still worth measuring
            yield Row(name, f"failed, {type(error).__name__}: {str(error).partition(chr(10))[0]}", "a result", False)


if __name__ == "__main__":
    for row in measure(*sys.argv[1:]):
        print(f"{row.what}: {row.shown}, wanted {row.wanted}{'' if row.met else ', missed'}", flush=True)
