"""Fixed points of a flow in a box, by Newton's method from many starts."""

import dataclasses
from collections.abc import Iterator

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from jaxtyping import Array, Float

from .._tree import combine, floats, is_traced, label_of, ravel, traced_numbers, unraveler
from .._typing import Args, State
from ._base import AbstractFlow, require_flow
from .corners import corners_of


@dataclasses.dataclass(frozen=True)
class FixedPoint:
    """A state where a flow stands still.

    Attributes:
        state: the state, a tree of NumPy arrays.
        eigenvalues: of the Jacobian there, (n,) complex, 1/time, by descending real part.
        stability: `"stable node"`, `"stable focus"`, `"saddle"`, `"unstable node"`, `"unstable focus"`, `"centre"`
            or `"degenerate"` (an eigenvalue too close to zero to tell).
        potential: the flow's potential there, or `None`.
    """

    state: State
    eigenvalues: np.ndarray
    stability: str
    potential: float | None

    @property
    def is_stable(self) -> bool:
        return self.stability.startswith("stable")


@dataclasses.dataclass(frozen=True)
class Equilibria:
    """The fixed points that were *found* in a box: a sequence of `FixedPoint`, by rising potential.

    A search from finitely many starts can miss some; `starts` and `converged` say how hard it looked.
    """

    points: tuple[FixedPoint, ...]
    starts: int
    converged: int

    def __len__(self) -> int:
        return len(self.points)

    def __iter__(self) -> Iterator[FixedPoint]:
        return iter(self.points)

    def __getitem__(self, index: int) -> FixedPoint:
        return self.points[index]

    @property
    def stable(self) -> tuple[FixedPoint, ...]:
        return tuple(point for point in self.points if point.is_stable)

    @property
    def saddles(self) -> tuple[FixedPoint, ...]:
        return tuple(point for point in self.points if point.stability == "saddle")

    def __str__(self) -> str:
        noun = "equilibrium" if len(self) == 1 else "equilibria"
        head = f"found {len(self)} {noun} from {self.starts} starts ({self.converged} converged in the box)"
        return "\n".join([head, *(f"  {_line(point)}" for point in self.points)])


def _line(point: FixedPoint) -> str:
    leaves = [
        f"{label_of(path) or 'y'} = {np.array2string(leaf, precision=6)}"
        for path, leaf in jax.tree.leaves_with_path(point.state)
    ]
    energy = "" if point.potential is None else f"   potential {point.potential:.8g}"
    return f"{point.stability:15s} {', '.join(leaves)}   leading eigenvalue {point.eigenvalues[0]:.6g}{energy}"


def equilibria(
    flow: AbstractFlow, box: tuple[State, State], *, args: Args = None, t: float = 0.0, starts: int = 256
) -> Equilibria:
    """Find the fixed points of a flow in a box.

    Newton's method (optimistix, iterates kept in the box) runs from a low-discrepancy set of starts, half of them
    spread evenly and half by orders of magnitude, for states whose scales differ. What is found is a lower bound of
    what there is.

    Args:
        flow: the flow.
        box: the lower and the upper corner, two trees like the state.
        args: handed to the flow.
        t: the time at which a time-dependent field is frozen.
        starts: how many starts.

    Returns:
        The `Equilibria` found: states, eigenvalues of the Jacobian, a word for the stability, the potential.

    Raises:
        ValueError: if the corners differ in structure or are out of order.
    """
    require_flow(flow)
    if is_traced(flow, box, args, t):
        raise ValueError("`equilibria` runs outside of JAX transformations only: it finds a number of points.")
    lower, _, low, high = corners_of(box)
    if isinstance(starts, bool) or not isinstance(starts, int) or starts < 1:
        raise ValueError(f"`starts` must be at least 1, a whole number, got {starts!r}.")
    dtype = ravel(lower).dtype
    numbers = tuple(jnp.asarray(numbers, dtype=dtype) for numbers in (low, high, _starts(low, high, starts)))
    found = _newton(flow, lower, numbers, traced_numbers(args), traced_numbers(t))
    roots, corrections, jacobians, potentials, speeds = jax.tree.map(np.asarray, found)
    scale = np.abs(roots) + 1e-3 * (high - low)
    precision = np.finfo(dtype).eps ** 0.5
    good = np.all(np.isfinite(roots) & (np.abs(corrections) <= precision * scale), axis=1)
    kept = np.flatnonzero(good)[_distinct(roots[good], 100 * precision * (high - low))]
    points = [
        _describe(
            lower,
            roots[index],
            jacobians[index],
            None if potentials is None else float(potentials[index]),
            # An eigenvalue is zero beside what is usual in this box: at a fold all of them may be.
            noise=precision * float(np.nanmedian(speeds)),
        )
        for index in kept
    ]
    points.sort(key=lambda point: (point.potential or 0.0, tuple(np.asarray(ravel(point.state)))))
    return Equilibria(tuple(points), starts=starts, converged=int(good.sum()))


@eqx.filter_jit
def _newton(flow, like, numbers, args, t):
    unravel, (low, high, guesses) = unraveler(like), numbers

    def field(x, _=None):
        return ravel(flow.vector_field(jnp.asarray(t, x.dtype), combine(unravel(x), like), args))

    tolerance = float(jnp.finfo(low.dtype).eps) ** 0.75
    solver = optx.Newton(rtol=tolerance, atol=tolerance)

    def solve(x):
        options = {"lower": low, "upper": high}
        root = optx.root_find(field, solver, x, options=options, throw=False, max_steps=128).value
        jacobian = jax.jacfwd(field)(root)
        # One more Newton step says how far the root still is: at a clipped iterate it is not small.
        state = combine(unravel(root), like)
        potential = None if flow.potential is None else flow.potential(flow.position(state), args)
        speed = jnp.linalg.norm(jax.jacfwd(field)(x))
        return root, jnp.linalg.solve(jacobian, field(root)), jacobian, potential, speed

    # One start after the other: independent batched factorisations can hang XLA's CPU thread pool.
    return jax.lax.map(solve, guesses)


def _starts(low: np.ndarray, high: np.ndarray, count: int) -> np.ndarray:
    """Roberts' additive recurrence, a deterministic low-discrepancy set, evenly and by orders of magnitude."""
    n = len(low)
    golden = 2.0
    for _ in range(64):  # the root of x^(n+1) = x + 1
        golden = (1 + golden) ** (1 / (n + 1))
    unit = (0.5 + np.outer(np.arange(1, count + 1), golden ** -np.arange(1.0, n + 1))) % 1
    geometric = np.expm1(unit * np.log1p(1e4)) / 1e4
    return low + np.where((np.arange(count) % 2 == 0)[:, None], unit, geometric) * (high - low)


def _distinct(roots: np.ndarray, apart: np.ndarray) -> list[int]:
    kept: list[int] = []
    for index, root in enumerate(roots):
        if all((np.abs(root - roots[other]) > apart).any() for other in kept):
            kept.append(index)
    return kept


def _describe(like: State, root: np.ndarray, jacobian: np.ndarray, potential: float | None, noise: float) -> FixedPoint:
    state = jax.tree.map(np.asarray, floats(unraveler(like)(jnp.asarray(root))))
    eigenvalues = np.linalg.eigvals(jacobian.astype(np.float64))
    eigenvalues = eigenvalues[np.argsort(-eigenvalues.real, kind="stable")]
    noise = max(noise, np.finfo(jacobian.dtype).eps ** 0.5 * float(np.abs(eigenvalues).max()))
    return FixedPoint(state, eigenvalues, _word(eigenvalues, noise), potential)


def _word(eigenvalues: Float[Array, " n"] | np.ndarray, noise: float) -> str:
    real, imaginary = np.real(eigenvalues), np.abs(np.imag(eigenvalues))
    if (np.abs(real) <= noise).any():
        return "centre" if (np.abs(real) <= noise).all() and (imaginary > noise).all() else "degenerate"
    if (real < 0).any() and (real > 0).any():
        return "saddle"
    side = "stable" if (real < 0).all() else "unstable"
    return f"{side} {'focus' if (imaginary > noise).any() else 'node'}"
