"""The layerwise update against the same update by other routes: its time, its memory and its error."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np

import flowmod as fm
from benchmarks.cases import by_layer, digits, digits_problem, relative_error, temporary_mib, update
from benchmarks.comparators.materialised import dense_update, materialised_update
from benchmarks.comparators.parameter_cg import parameter_cg_update
from benchmarks.comparators.plain import mean_loss, plain_weights
from benchmarks.timing import Row, interleaved

_MASS = 1e-2


def _called(program, *args):
    return lambda: jax.block_until_ready(program(*args))


def _baseline(fn, inputs, targets, **settings):
    return jax.jit(lambda weights: fn(weights, inputs, targets, **settings))


def _agreement() -> list[Row]:
    rows = []
    cases = {
        "materialised rows": (materialised_update, (64, 128, 128, 10)),
        "dense blocks": (dense_update, (64, 32, 24, 10)),
    }
    for loss in ("softmax", "least squares"):
        for name, (fn, sizes) in cases.items():
            net, problem = digits_problem(32, sizes, loss)
            ours = by_layer(update(problem, fm.LayerwiseMetric.of(problem, mass=_MASS))(net))
            base = _baseline(fn, *digits(32, loss), mass=_MASS)(plain_weights(net))
            error = relative_error(ours, base)
            rows.append(Row(f"{loss}, f64, N = 32, against {name}: error", f"{error:.1e}", "<= 1e-10", error <= 1e-10))
    return rows


def _against_materialised(count, width, wanted, dtype, loss="softmax", repeats=7) -> Row:
    net, problem = digits_problem(count, (64, width, width, 10), loss, dtype)
    ours = update(problem, fm.LayerwiseMetric.of(problem, mass=_MASS))
    base = _baseline(materialised_update, *digits(count, loss, dtype), mass=_MASS)
    weights = plain_weights(net)
    fast, slow = interleaved(_called(ours, net), _called(base, weights), repeats=repeats)
    little, much = temporary_mib(ours, net), temporary_mib(base, weights)
    shown = f"{slow / fast:.1f} x ({1e3 * fast:.3g} ms against {1e3 * slow:.3g} ms), {little:.1f} of {much:.0f} MiB"
    what = f"{loss}, {jnp.dtype(dtype).name}, N = {count}, width {width}, faster than materialised rows"
    return Row(what, shown, f">= {wanted} x, 1/8", slow >= wanted * fast and 8 * little <= much)


def _against_others() -> list[Row]:
    """Dense blocks, conjugate gradients on the side of the parameters, and the gradient alone; nothing is wanted."""
    rows = []
    cases = {
        "dense blocks": ((64, 32, 24, 10), 32, functools.partial(dense_update, mass=_MASS)),
        "parameter-side CG to 1e-8": ((64, 128, 128, 10), 128, functools.partial(parameter_cg_update, mass=_MASS)),
        "the gradient alone": ((64, 128, 128, 10), 128, jax.grad(mean_loss)),
    }
    for name, (sizes, count, fn) in cases.items():
        net, problem = digits_problem(count, sizes)
        ours = update(problem, fm.LayerwiseMetric.of(problem, mass=_MASS))
        base = _baseline(fn, *digits(count))
        fast, slow = interleaved(_called(ours, net), _called(base, plain_weights(net)), repeats=5)
        shown = f"{fast / slow:.3g} x its time ({1e3 * fast:.3g} ms against {1e3 * slow:.3g} ms)"
        rows.append(Row(f"softmax, f64, {'-'.join(map(str, sizes))}, N = {count}, against {name}", shown, "", True))
    return rows


def _large_batches() -> list[Row]:
    rows = []
    for count, limit in ((512, 0.3), (1797, 1.0)):
        net, _ = digits_problem(count)
        tight = _baseline(parameter_cg_update, *digits(count), mass=_MASS, tolerance=1e-12)(plain_weights(net))
        reference = [np.concatenate([weight.ravel(), bias]) for weight, bias in tight]
        for dtype in (jnp.float32, jnp.float64):
            single, problem = digits_problem(count, dtype=dtype)
            ours = update(problem, fm.LayerwiseMetric.of(problem, mass=_MASS))
            error = relative_error(by_layer(ours(single)), reference)
            (seconds,) = interleaved(_called(ours, single), repeats=5)
            memory = temporary_mib(ours, single)
            timed = limit if dtype == jnp.float32 else math.inf
            shown = f"{seconds:.3f} s, error {error:.1e}, {memory:.0f} MiB"
            wanted = f"{f'<= {limit} s, ' if timed < math.inf else ''}1e-3, 200 MiB"
            met = seconds <= timed and error <= 1e-3 and memory <= 200
            rows.append(Row(f"softmax, {jnp.dtype(dtype).name}, N = {count}, auto", shown, wanted, met))
    return rows


def _small_mass() -> list[Row]:
    """In single precision, with a mass far below what Woodbury's identity can subtract."""
    rows = []
    for loss in ("softmax", "least squares"):
        for mass in (1e-3, 1e-5):
            net, problem = digits_problem(32, loss=loss)
            settings = {"mass": mass, "solver": "direct"}
            exact = by_layer(update(problem, fm.LayerwiseMetric.of(problem, **settings))(net))
            single, problem = digits_problem(32, loss=loss, dtype=jnp.float32)
            metric = fm.LayerwiseMetric.of(problem, **settings)
            error = relative_error(by_layer(update(problem, metric)(single)), exact)
            naive = _baseline(materialised_update, *digits(32, loss, jnp.float32), mass=mass)(plain_weights(single))
            shown = f"{error:.1e} (naive Woodbury {relative_error(naive, exact):.1e})"
            rows.append(Row(f"{loss}, f32, mass {mass:.0e}: error", shown, "<= 5e-03", error <= 5e-3))
    return rows


def minimal_flops(sizes, count: int, rows: int) -> float:
    """What the exact update of an affine layer takes at the least, over all layers, in multiplications and additions.

    With `R = N C` rows: the Gram matrix of the costates, halved by symmetry, `R^2 o`; that of the inputs, `N^2 d`; the
    Hadamard product, `R^2 / 2`; a Cholesky factorisation, `R^3 / 3`, and its two solves, `2 R^2`; the costates' way to
    the layer below, `2 R o d`; and forward pass, gradient and update, `6 N o d`.
    """
    r = count * rows
    flops = 0.0
    for layer, (d, o) in enumerate(itertools.pairwise(sizes)):
        flops += r**2 * o + count**2 * d + r**2 / 2 + r**3 / 3 + 2 * r**2 + 6 * count * o * d
        flops += 2 * r * o * d if layer else 0
    return flops


def _fractions_of_peak() -> list[Row]:
    rows, n = [], 2048
    square = jax.random.normal(jax.random.key(0), (n, n))
    product = _called(jax.jit(jnp.matmul), square, square)
    for width, wanted in ((128, 0.15), (2048, 0.5)):
        sizes = (64, width, width, 10)
        net, problem = digits_problem(32, sizes, "least squares")
        ours = update(problem, fm.LayerwiseMetric.of(problem, mass=_MASS, solver="direct"))
        seconds, whole = interleaved(_called(ours, net), product, repeats=9)
        peak = 2 * n**3 / whole
        share = minimal_flops(sizes, 32, 10) / seconds / peak
        shown = f"{100 * share:.0f} % of {peak / 1e9:.0f} GFLOP/s ({1e3 * seconds:.3g} ms)"
        what = f"least squares, f64, N = 32, width {width}: of the GEMM peak"
        rows.append(Row(what, shown, f">= {wanted:.0%}", share >= wanted))
    return rows


def measure() -> list[Row]:
    jax.config.update("jax_enable_x64", True)
    compared = []
    for dtype in (jnp.float64, jnp.float32):
        for loss in ("softmax", "least squares"):
            compared += [
                _against_materialised(32, 128, 40, dtype, loss),
                _against_materialised(128, 128, 12, dtype, loss, repeats=3),
                _against_materialised(32, 256, 80, dtype, loss),
            ]
    return [*_agreement(), *compared, *_against_others(), *_large_batches(), *_small_mass(), *_fractions_of_peak()]
