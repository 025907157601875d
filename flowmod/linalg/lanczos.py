"""Eigenpairs at the ends of a symmetric pencil, from products alone: Lanczos with thick restarts, in `M`."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from .eigenpairs import Eigenpairs, LeadingEigenpair

Product = Callable[[Float[Array, " n"]], Float[Array, " n"]]

_AGAIN = 24
"""Products of the second start.

Kuczynski and Wozniakowski: after `k` steps from a start that is uniform in the metric, the largest eigenvalue is missed
by more than a share `e` of the spectrum's width with a probability of at most `1.65 sqrt(n) exp(-(2 k - 1) sqrt(e))`:
for 24 steps and a few thousand numbers one in a thousand for 6 %. What the first start is blind to is usually far
beyond the end that it sees, or it is of no weight.
"""

_NUMBERS = 2**20
"""How many numbers the basis may hold before it is made smaller than `_MOST_VECTORS`: 8 MB."""

_MOST_VECTORS, _FEWEST_VECTORS = 64, 16
"""The basis for small and for large vectors.

With 16 a search takes the memory of 24 vectors, because a restart needs half of them twice, and for 10^5 parameters
109 products where 20 took 104. The eigenvalues of a matrix of 64 take a third of a millisecond, of one of 300 thirty
times that, and saved a network of 2,410 parameters no product of 32.
"""


class _Search(NamedTuple):
    basis: Float[Array, "size n"]  # orthonormal in M, zero where it is not used
    small: Float[Array, "size size"]  # q_i^T S q_j: true products, not what a recursion says of them
    ahead: Float[Array, " n"]  # what the basis will be extended by, orthogonalised once
    coupling: Float[Array, ""]  # its length; zero where the Krylov space is exhausted
    used: Int[Array, ""]
    products: Int[Array, ""]
    again: Int[Array, ""]  # products since the second start, -1 before
    values: Float[Array, " k"]
    combinations: Float[Array, "k size"]
    before: Float[Array, " k"]  # the values when the second start was made
    scale: Float[Array, ""]
    whole: Bool[Array, ""]  # no direction is left
    agreed: Bool[Array, ""]
    done: Bool[Array, ""]


class _Plan(NamedTuple):
    """What is looked for; the first three are static."""

    largest: int
    smallest: int
    most: int
    tolerance: Any  # of the estimated residuals, relative to the scale
    accepted: Any  # of the measured ones

    @property
    def wanted(self) -> int:
        return self.largest + self.smallest


def leading_eigenpair(
    product: Product,
    mass: Product,
    solve: Product,
    start: Float[Array, " n"],
    *,
    precision: Any = None,
    most: int = 300,
) -> LeadingEigenpair:
    """The algebraically largest eigenvalue of `M^-1 S`: `extreme_eigenpairs` for this one.

    Args:
        product: `S d`.
        mass: `M d`.
        solve: `M^-1 g`, as accurate as the eigenvalue should be.
        start: where to start, any length but zero.
        precision: the dtype that the products are good to, if it is not the start's.
        most: the largest number of products in the search.

    Returns:
        A `LeadingEigenpair` with its vector flat. NaN in, NaN out.
    """
    return extreme_eigenpairs(product, mass, solve, start, precision=precision, most=most).leading


def extreme_eigenpairs(
    product: Product,
    mass: Product,
    solve: Product,
    start: Float[Array, " n"],
    *,
    largest: int = 1,
    smallest: int = 0,
    rtol: Any = None,
    precision: Any = None,
    most: int = 300,
) -> Eigenpairs:
    """The algebraically largest and smallest eigenvalues of `M^-1 S`, `S` symmetric, `M` positive definite.

    Each step takes one product with `S`, one with `M` and one solve with it, in flat vectors. The basis is
    orthogonalised twice, holds 16 to 64 vectors (more for more than four eigenvalues), and is restarted from its best
    half. A power iteration would find the largest modulus instead, which for the `S` of a contracting flow is the other
    end.

    A start sees no eigenvalue whose eigenvector it has no component of. So when the residuals are small enough, a
    second, random start, orthogonal to all that is in the basis, takes 24 products more, or as many as it has
    directions. What it finds beyond the values is taken up and the search goes on; only if nothing is, the result is
    `converged`. That is evidence, not a proof: a value from finitely many products is an estimate.

    Args:
        product: `S d`.
        mass: `M d`.
        solve: `M^-1 g`, as accurate as the eigenvalues should be.
        start: where to start, any length but zero: `random_start`, or the sum of what is known of the eigenvectors.
        largest: how many of the largest eigenvalues, up to n.
        smallest: how many of the smallest, up to n.
        rtol: the residuals to be reached, relative to the largest modulus. By default the search goes on to 1e-10
            (1e-5 in float32) and accepts 1e-5 (1e-3): an eigenvalue's error goes with the residual's square.
        precision: the dtype that the products are good to, if it is not the start's.
        most: the largest number of products in the search.

    Returns:
        `Eigenpairs` with flat vectors. NaN in, NaN out.

    Reference: B. N. Parlett, "The Symmetric Eigenvalue Problem" (1980), ch. 11 and 13; K. Wu and H. Simon,
    "Thick-restart Lanczos method for large symmetric eigenvalue problems" (2000); J. Kuczynski and H. Wozniakowski,
    "Estimating the largest eigenvalue by the power and Lanczos algorithms with a random start" (1992).
    """
    tolerance, accepted = _tolerances(start.dtype if precision is None else precision)
    if rtol is not None:
        # A second start leaves aside what was missing for the first one: the squares of the two residuals add up.
        accepted = jnp.asarray(rtol).astype(start.dtype)
        tolerance = 0.7 * accepted
    plan = _Plan(largest, smallest, most, tolerance, accepted)

    def extend(search):
        # The eigenvalues of the small matrix cost as much as some products, so they are looked at now and then.
        until = search.used + jnp.where(search.again < 0, 4 + search.used // 12, _AGAIN - search.again)
        until = jnp.minimum(jnp.maximum(until, search.used + 1), len(search.small))

        def growing(search):
            return (search.used < until) & (search.products < most) & (search.coupling > 0)

        search = jax.lax.while_loop(growing, lambda search: _step(product, mass, solve, search), search)
        return _prepare(_judge(search, plan), plan, solve)

    search = jax.lax.while_loop(lambda search: ~search.done, extend, _begin(start, plan))
    vectors = search.combinations @ search.basis
    return _measured(product, mass, solve, vectors, search, plan)


def random_start(n: int, dtype: Any) -> Float[Array, " n"]:
    """A fixed dense vector without structure: one of ones, say, is orthogonal to half of a symmetric problem."""
    return jax.random.normal(jax.random.key(0), (n,), dtype)


def _tolerances(dtype) -> tuple[float, float]:
    # The error of an eigenvalue goes with the residual's square: what is accepted is good to more than the tolerance.
    return (1e-10, 1e-5) if jnp.finfo(dtype).bits >= 64 else (1e-5, 1e-3)


def _begin(start: Float[Array, " n"], plan: _Plan) -> _Search:
    n, dtype = start.size, start.dtype
    size = min(n, max(_FEWEST_VECTORS, 2 * plan.wanted + 8, min(_MOST_VECTORS, _NUMBERS // n)))
    zero, count = jnp.zeros((), dtype), jnp.zeros((), jnp.int32)
    return _Search(
        basis=jnp.zeros((size, n), dtype),
        small=jnp.zeros((size, size), dtype),
        ahead=start,
        coupling=zero + 1,
        used=count,
        products=count,
        again=count - 1,
        values=jnp.zeros(plan.wanted, dtype),
        combinations=jnp.zeros((plan.wanted, size), dtype),
        before=jnp.zeros(plan.wanted, dtype),
        scale=zero,
        whole=jnp.zeros((), bool),
        agreed=jnp.zeros((), bool),
        done=jnp.zeros((), bool),
    )


def _step(product: Product, mass: Product, solve: Product, search: _Search) -> _Search:
    """One more basis vector, and what follows it."""
    momentum = mass(search.ahead)
    correction = search.basis @ momentum
    eps, square = jnp.finfo(momentum.dtype).eps, search.ahead @ momentum
    rest = square - correction @ correction
    whole = rest <= 100 * eps * square
    vector = (search.ahead - correction @ search.basis) * jnp.where(whole, 0, 1 / jnp.sqrt(jnp.where(whole, 1, rest)))
    basis = search.basis.at[search.used].set(vector)
    covector = product(vector)
    # <q, M^-1 s>_M = q^T s: the first orthogonalisation needs no product with M, the second one shares the norm's.
    components, image = basis @ covector, solve(covector)
    ahead = image - components @ basis
    coupling = jnp.sqrt(jnp.maximum(covector @ image - components @ components, 0))
    # Rounding of the products, not of this line: 1e-11 (1e-5 in float32), below what a residual is asked to be.
    exhausted = jnp.linalg.norm(ahead) <= eps**0.7 * jnp.linalg.norm(image)
    return search._replace(
        basis=basis,
        small=search.small.at[search.used].set(components).at[:, search.used].set(components),
        ahead=ahead,
        coupling=jnp.where(exhausted, 0, coupling),
        used=search.used + jnp.where(whole, 0, 1),
        products=search.products + 1,
        again=jnp.where(search.again < 0, -1, search.again + 1),
        whole=whole,
    )


def _ritz(small: Float[Array, "size size"], used: Int[Array, ""]):
    """Eigenvalues and eigenvectors of the part that is used: those from `size - used` on."""
    # What is not used yet stands decoupled below all eigenvalues, of their size so that it costs no digits.
    bound = jnp.max(jnp.sum(jnp.abs(small), axis=1))
    free = jnp.arange(len(small), dtype=jnp.int32) >= used
    filled = small - jnp.diag(jnp.where(free, 2 * jnp.where(bound == 0, 1, bound), 0))
    return jnp.linalg.eigh(filled, symmetrize_input=False)


def _judge(search: _Search, plan: _Plan) -> _Search:
    """The wanted Ritz pairs; whether they are good enough; whether the search begins a second time, or ends."""
    size, n = search.basis.shape
    values, combinations = _ritz(search.small, search.used)
    at = jnp.concatenate([
        size - 1 - jnp.arange(plan.largest, dtype=jnp.int32),
        size - search.used + jnp.arange(plan.smallest, dtype=jnp.int32),
    ])  # fmt: skip
    wanted, combinations = values[at], combinations[:, at].T
    ends = jnp.maximum(jnp.abs(values[-1]), jnp.abs(values[size - search.used]))
    scale = jnp.maximum(search.scale, ends)
    whole = search.whole | (search.used == n)
    coupling = jnp.where(whole & (search.coupling >= 0), 0, search.coupling)
    # The last coupling bounds the residual of every Ritz pair.
    residuals = coupling * jnp.abs(combinations[:, search.used - 1])
    estimate = jnp.max(residuals) / jnp.where(scale == 0, 1, scale)

    enough = search.used >= max(plan.largest, plan.smallest)
    good = enough & (estimate <= plan.tolerance)
    exhausted = coupling == 0
    second = search.again >= 0
    # A second start whose Krylov space is exhausted has seen all that it can see.
    seen = second & ((search.again >= _AGAIN) | exhausted)
    more = jnp.any(jnp.abs(wanted - search.before) > plan.accepted * scale)
    agreed = good & (whole | (seen & ~more))
    anew = good & (~second | (seen & more)) & ~agreed
    again = jnp.where(anew, 0, jnp.where(seen & more, -1, search.again))
    return search._replace(
        coupling=jnp.where(anew, 0, coupling),  # a Krylov space that is left is one that is exhausted
        again=again,
        values=wanted,
        combinations=combinations,
        before=jnp.where(anew, wanted, search.before),
        scale=scale,
        agreed=agreed,
        done=agreed | whole | (search.products >= plan.most) | ~jnp.isfinite(estimate),
    )


def _prepare(search: _Search, plan: _Plan, solve: Product) -> _Search:
    """Room in the basis where there is none, and another direction where the Krylov space has no more."""
    size, n = search.basis.shape
    if size < n:
        full = ~search.done & (search.used == size)
        search = jax.lax.cond(full, lambda search: _restart(search, plan), lambda search: search, search)

    def another(search):
        # A random covector: it leans to directions of small mass, as `random_start` does to those of large mass, and
        # it stays where `solve` leads, if that is not the whole space.
        key = jax.random.fold_in(jax.random.key(1), search.products)
        covector = jax.random.normal(key, search.ahead.shape, search.ahead.dtype)
        return search._replace(ahead=solve(covector), coupling=jnp.ones_like(search.coupling))

    fresh = ~search.done & (search.coupling == 0)
    return jax.lax.cond(fresh, another, lambda search: search, search)


def _restart(search: _Search, plan: _Plan) -> _Search:
    """A full basis reduced to the Ritz vectors at the wanted ends."""
    size = len(search.small)
    spare = (size - plan.wanted) // 2
    above = plan.largest + spare * plan.largest // plan.wanted
    below = plan.smallest + spare * plan.smallest // plan.wanted
    values, combinations = _ritz(search.small, search.used)
    values = jnp.concatenate([values[:below], values[size - above :]])
    combinations = jnp.concatenate([combinations[:, :below], combinations[:, size - above :]], axis=1)
    kept = below + above
    # What the next vector has in common with those kept is in its products, when it comes into the basis.
    return search._replace(
        basis=jnp.zeros_like(search.basis).at[:kept].set(combinations.T @ search.basis),
        small=jnp.zeros_like(search.small).at[jnp.arange(kept), jnp.arange(kept)].set(values),
        used=jnp.full_like(search.used, kept),
    )


def _measured(product, mass, solve, vectors, search: _Search, plan: _Plan) -> Eigenpairs:
    """Values and residuals from the vectors themselves: what the search says of them holds in exact arithmetic."""

    def measure(vector):
        vector = vector / jnp.sqrt(vector @ mass(vector))
        covector = product(vector)
        value = vector @ covector
        remainder = solve(covector) - value * vector
        residual = jnp.sqrt(jnp.maximum(remainder @ mass(remainder), 0))
        # A first vector is found without a solve: where there is no inverse, it is no eigenvector.
        return jnp.where(jnp.isfinite(residual), value, jnp.nan), vector, residual

    values, vectors, residuals = jax.lax.map(measure, vectors)
    converged = search.agreed & jnp.all(residuals <= plan.accepted * search.scale)
    return Eigenpairs(values, vectors, residuals, search.scale, search.products + plan.wanted, converged)
