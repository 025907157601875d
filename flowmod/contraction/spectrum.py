"""Growth rates at both ends of the spectrum: how fast neighbours part and approach, and how well that is known."""

from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Bool, Float, Int

from .._tree import as_state, combine, dtype_of, floats, is_float_array, is_traced, size, traced_numbers
from .._typing import Args, State
from ..flow import AbstractFlow, Units, require_flow
from ..metric import AbstractMetric, require_metric
from ..simulate import Ensemble, Trajectory
from ._each_time import at_each_time
from ._extremes import Extremes, Subject, Wanted, extremes_along, extremes_at
from .jacobian import default_metric, linearise, unless_own
from .rate import DENSE, reduced_pencil

METHODS = ("auto", "dense", "lanczos")


class Spectrum(eqx.Module):
    """Growth rates of distances between neighbouring trajectories: the eigenvalues of `M^-1 S` at both ends, 1/time.

    A distance grows at most at the largest and at least at the smallest of them. Leading axes are those of the state:
    none for a state, (T,) for a trajectory.

    Attributes:
        ts: the times, () or (T,).
        largest: the k largest growth rates, falling, (..., k). By Lanczos they are estimates *from below*: the true
            one of each rank is at least that.
        smallest: the k smallest, rising, (..., k). By Lanczos they are estimates *from above*.
        largest_residuals: `|M^-1 S q - value q|_M` of each, (..., k) in 1/time, from its vector `q` of length one.
            Some eigenvalue lies within it (Weinstein's bound). Which one it cannot say. If it is that of the value's
            rank, at a gap from the others, the error is no more than `residual^2 / gap`.
        smallest_residuals: the same for the smallest.
        scale: `|M^-1 S|`, the largest modulus of an eigenvalue, (...,) in 1/time.
        products: how many products with `S` were taken, (...,); none for a dense spectrum.
        converged: whether all residuals are below `rtol` of the scale and a second, random start has found nothing
            beyond the values, (...,); for a dense spectrum, whether the metric is one.
        exact: whether the matrices were formed and the values are exact up to rounding: else they are estimates.
        units: pairs of a label and a unit.
    """

    ts: Float[Array | np.ndarray, "*T"]
    largest: Float[Array | np.ndarray, "*T k"]
    smallest: Float[Array | np.ndarray, "*T k"]
    largest_residuals: Float[Array | np.ndarray, "*T k"]
    smallest_residuals: Float[Array | np.ndarray, "*T k"]
    scale: Float[Array | np.ndarray, "*T"]
    products: Int[Array | np.ndarray, "*T"]
    converged: Bool[Array | np.ndarray, "*T"]
    exact: bool = eqx.field(static=True)
    units: Units = eqx.field(static=True, default=())

    @property
    def rate(self) -> Float[Array | np.ndarray, "*T"]:
        """The contraction rate, minus the largest growth rate, (...,); NaN where it is not known well enough.

        By Lanczos an estimate from above: the true one is at most that.
        """
        where = np.where if isinstance(self.largest, np.ndarray) else jnp.where
        return where(self.converged, -self.largest[..., 0], np.nan)

    def to_xarray(self) -> Any:
        """An `xarray.Dataset` with the dimensions `time` (for a trajectory) and `rank`."""
        import xarray as xr

        time = dict(self.units).get("time")
        lead = ("time",) * np.ndim(self.ts)
        unit = {"units": f"1/{time}"} if time else {}
        variables: dict[str, Any] = {"rate": (lead, np.asarray(self.rate), {"long_name": "contraction rate"} | unit)}
        for name, text in _LABELS.items():
            variables[name] = ((*lead, "rank"), np.asarray(getattr(self, name)), {"long_name": text} | unit)
        variables["scale"] = lead, np.asarray(self.scale), {"long_name": "largest modulus of an eigenvalue"} | unit
        variables["products"] = lead, np.asarray(self.products), {"long_name": "products with S"}
        variables["converged"] = lead, np.asarray(self.converged), {}
        times = {"long_name": "time"} | ({"units": time} if time else {})
        coords = {"time": (lead, np.asarray(self.ts), times), "rank": np.arange(1, 1 + self.largest.shape[-1])}
        return xr.Dataset(variables, coords=coords, attrs={"exact": int(self.exact)})

    def __str__(self) -> str:
        return _summary(self)


_LABELS = {
    "largest": "largest growth rates",
    "smallest": "smallest growth rates",
    "largest_residuals": "residuals of the largest growth rates",
    "smallest_residuals": "residuals of the smallest growth rates",
}


def contraction_spectrum(
    flow: AbstractFlow,
    y: State | Trajectory,
    t: Any = 0.0,
    args: Args = None,
    metric: AbstractMetric | None = None,
    *,
    k: int = 1,
    method: str = "auto",
    rtol: float | None = None,
) -> Spectrum:
    """The k largest and the k smallest growth rates of distances between neighbours, each with its residual.

    They are eigenvalues of the symmetric pencil `(M' + M J + J^T M)/2, M` that `contraction_rate` is the end of. By
    Lanczos, from products with it alone, they are *estimates from inside of the spectrum*: the largest too small and
    the smallest too large, if they are wrong, and so the rate too large. No certificate.

    Along a trajectory each search begins with the eigenvectors of the time before, and each ends with a second, random
    start: only if that finds nothing beyond, the values are `converged`. `products` counts both; the first time, which
    begins with random numbers, takes the most.

    Args:
        flow: the flow.
        y: a state, or a `Trajectory` of this flow.
        t: the time of a state; a trajectory brings its own.
        args: handed to the flow and to the metric.
        metric: the metric of the state space; the flow's own by default, else Euclidean.
        k: how many growth rates of each end, from 1 to n.
        method: `"dense"`, by all eigenvalues of the formed pencil, for up to some hundreds of numbers; `"lanczos"`,
            from products alone, for large states; `"auto"`, what is faster.
        rtol: the residuals to be reached by Lanczos, relative to `|M^-1 S|`: 1e-6 by default, 1e-3 in float32. A value
            is much better known than that, by `residual^2 / gap`: 1e-3 is enough for a figure, in half of the products.

    Returns:
        A `Spectrum`: arrays (k,) for a state and (T, k) for a trajectory. NaN where the metric is none. What did not
        converge is there, with its residuals; its `rate` is NaN.

    Raises:
        ValueError: if `flow` is no flow, `metric` no metric, or `k`, `method` or `rtol` is another.

    Reference: B. N. Parlett, "The Symmetric Eigenvalue Problem" (1980), ch. 4, 11 and 13; W. Lohmiller and J.-J. E.
    Slotine, "On contraction analysis for non-linear systems" (1998).
    """
    require_flow(flow)
    if metric is not None:
        require_metric("metric", metric)
    if method not in METHODS:
        raise ValueError(f'`method` must be "auto", "dense" or "lanczos", got {method!r}.')
    if isinstance(y, Ensemble):
        raise ValueError("`y` must be a state or a Trajectory, got an Ensemble: take a member, `ensemble[0]`.")
    args, metric = traced_numbers(args), unless_own(flow, metric)
    if isinstance(y, Trajectory):
        subject = Subject(flow, args, metric, eqx.filter(y.ys, is_float_array, inverse=True))
        ts, ys, units = y.ts, floats(y.ys), y.units
        n = size(ys) // max(len(ts), 1)
    else:
        y, subject, units = as_state("y", y), Subject(flow, args, metric, None), flow.units
        ts, ys, n = jnp.asarray(t, dtype=dtype_of(y)), y, size(y)
    if not isinstance(k, int) or not 1 <= k <= max(n, 1):
        raise ValueError(f"`k` must be a whole number from 1 to the {n} numbers of the state, got {k!r}.")
    dense = method == "dense" or (method == "auto" and n <= DENSE)
    found = _dense(ts, ys, subject, k) if dense else _lanczos(ts, ys, subject, k, _tolerance(rtol, dtype_of(ys)))
    halves = found.values[..., :k], found.values[..., k:], found.residuals[..., :k], found.residuals[..., k:]
    return Spectrum(ts, *halves, *found[2:], exact=dense, units=units)


def _tolerance(rtol: float | None, dtype: np.dtype) -> Float[Array, ""]:
    if rtol is None:
        rtol = 1e-6 if jnp.finfo(dtype).bits >= 64 else 1e-3
    elif not isinstance(rtol, float) or not 0 < rtol < 1:
        raise ValueError(f"`rtol` must be a number between 0 and 1, got {rtol!r}: 1e-3 is enough for a figure.")
    return jnp.asarray(rtol)


def _lanczos(ts, ys, subject: Subject, k: int, rtol) -> Extremes:
    wanted = Wanted(k, k, rtol)
    if ts.ndim == 1:
        return extremes_along(ts, ys, subject, wanted)
    at = extremes_at if is_traced(ts, ys, subject) else _extremes_at_state
    pairs = at(ts, ys, None, subject, wanted)
    return Extremes(pairs.values, *pairs[2:])


_extremes_at_state = eqx.filter_jit(extremes_at)


class _Dense(NamedTuple):
    subject: Subject
    k: int


def _dense(ts, ys, subject: Subject, k: int) -> Extremes:
    operands = _Dense(subject, k)
    if ts.ndim == 1:
        return at_each_time(_formed, _formed_at_state, ts, ys, operands)
    return (_formed if is_traced(ts, ys, operands) else _formed_at_state)(ts, ys, operands)


def _formed(t, y, operands: _Dense) -> Extremes:
    (flow, args, metric, rest), k = operands
    y = y if rest is None else combine(y, rest)
    s, m = linearise(flow, t, y, args, default_metric(flow, y, metric)).pencil
    lower, reduced = reduced_pencil(s, m)
    values, vectors = jnp.linalg.eigh(reduced)
    at = np.concatenate([np.arange(len(values))[::-1][:k], np.arange(k)])
    wanted = values[at]
    vectors = solve_triangular(lower, vectors[:, at], trans="T", lower=True)
    missing = solve_triangular(lower, s @ vectors - m @ vectors * wanted[None], lower=True)
    residuals = jnp.linalg.norm(missing, axis=0)
    none = jnp.zeros((), jnp.int32)
    return Extremes(wanted, residuals, jnp.max(jnp.abs(values)), none, jnp.all(jnp.isfinite(wanted)))


_formed_at_state = eqx.filter_jit(_formed)


def _summary(spectrum: Spectrum) -> str:
    """A short table: the ends of the spectrum, how well they are known, and what that took."""
    if is_traced(spectrum) or np.ndim(spectrum.ts) > 1:
        return "Spectrum inside a JAX transformation"
    along, k = np.ndim(spectrum.ts) == 1, spectrum.largest.shape[-1]
    where = f"at {len(spectrum.ts)} times" if along else f"at t = {float(spectrum.ts):.6g}"
    kind = "exact up to rounding (dense)" if spectrum.exact else "estimates (Lanczos)"
    rows = [("growth rates", f"the {k} largest and the {k} smallest {where}, {kind}")]

    def shown(values):
        first, last = np.atleast_1d(values)[[0, -1]]
        return f"{first:.6g} -> {last:.6g}" if along else f"{first:.6g}"

    if np.size(spectrum.ts):
        for end in ("largest", "smallest"):
            residual = float(np.max(getattr(spectrum, f"{end}_residuals")))
            rows.append((end, f"{shown(getattr(spectrum, end)[..., 0])}, residuals {residual:.2g} at most"))
        rows += [(name, shown(getattr(spectrum, name))) for name in ("rate", "scale")]
        first, *others = np.atleast_1d(spectrum.products)
        later = f", {max(others)} at most at a later one" if others else ""
        rows.append(("products", "none" if spectrum.exact else f"{first}{' at the first time' * along}{later}"))
        rows.append(("converged", f"{np.sum(spectrum.converged)} of {np.size(spectrum.converged)}"))
    width = max(len(label) for label, _ in rows)
    return "\n".join(["Spectrum", *(f"  {label:{width}}  {text}" for label, text in rows)])
